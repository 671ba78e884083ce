"""The code in the documentation runs as it stands."""

import re
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from mmengine.registry import MODELS

from tests import networks

ROOT = Path(__file__).parents[1]


def test_own_backbone_recipe(build_tas, capsys):
    """Every snippet of docs/own_backbone.md, in order; then the new backbone as student and as teacher."""
    text = (ROOT / 'docs' / 'own_backbone.md').read_text()
    names = dict(__name__='my_package.nets')
    for snippet in re.findall(r'```python\n(.*?)```', text, flags=re.DOTALL):
        exec(compile(snippet, 'own_backbone.md', 'exec'), names)
    assert names['view'].check_tail() < 1e-5
    assert [stage.grid for stage in names['view'].stages] == [(32, 32), (16, 16), (8, 8), (4, 4)]
    own = networks.classifier(dict(type='Funnel'), 128)
    images, labels = torch.randn(4, 3, 64, 64), networks.samples([0, 1, 2, 3])
    for student, teacher in ((own, networks.swin()), (networks.vit(), own)):
        algorithm = build_tas(student, teacher)
        total, _ = algorithm.parse_losses(algorithm(images, labels, mode='loss'))
        total.backward()
        assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)
    assert MODELS.get('mmpretrain.Funnel') is names['Funnel']


@pytest.mark.parametrize('document', ['README.md', *(f'docs/{p.name}' for p in (ROOT / 'docs').glob('*.md'))])
def test_every_file_and_command_that_is_named_exists(document):
    text = (ROOT / document).read_text()
    for path in re.findall(r'(?:tools|configs|docs|examples)/[\w./-]+\.(?:py|sh|md|svg|png)', text):
        assert (ROOT / path).exists() or '<' in path, f'{document} names {path}'
    for target in re.findall(r'^make ([\w-]+)', text, flags=re.MULTILINE):
        assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), flags=re.MULTILINE), target


def test_the_readmes_config_is_a_config(tmp_path):
    """The first config that the README shows, merged and built without weights."""
    from tas_mm import inspect
    from tas_mm.config import read_config

    text = (ROOT / 'README.md').read_text()
    for i, snippet in enumerate(re.findall(r'```python\n(_base_.*?)```', text, flags=re.DOTALL)):
        path = tmp_path / f'readme_{i}.py'
        path.write_text(snippet)
        model = inspect.build_model(read_config(str(path)))
        losses = inspect.train_step(model, inspect.synthetic_batch(model))
        assert losses['unused_parameters'] == 0


def test_mixing_in(tmp_path):
    """Each config of docs/mixing_in.md takes a step; each other snippet runs."""
    from tas_mm import inspect
    from tas_mm.config import read_config

    text = (ROOT / 'docs' / 'mixing_in.md').read_text()
    first, *snippets = re.findall(r'```python\n(.*?)```', text, flags=re.DOTALL)
    names = dict(_base_=Mock())
    for snippet in snippets:
        exec(compile(snippet, 'mixing_in.md', 'exec'), names)
    several = next(snippet for snippet in snippets if snippet.startswith('several'))
    more = dict(
        TASDistiller='',
        PairDistiller=f"model['distiller'] = {names['distiller']}",
        DistillerGroup=several.replace('several =', 'model ='),
    )
    for kind, lines in more.items():
        path = tmp_path / f'{kind}.py'
        path.write_text(f'{first}\n{lines}\ncustom_imports = {names["custom_imports"]}')
        model = inspect.build_model(read_config(str(path)))
        assert type(model.distiller).__name__ == kind
        assert inspect.train_step(model, inspect.synthetic_batch(model))['unused_parameters'] == 0
    batch = inspect.synthetic_batch(names['model'])
    assert inspect.train_step(names['model'], batch)['unused_parameters'] == 0
    assert MODELS.get(names['teacher']['type']) is not None
