"""The documentation is correct: every block of Python and of shell runs as shown, and every link works.

Python that imports is executed, page by page, in a folder with small stand-ins for what a page takes for granted. Other
Python is a config: one with a base is built and takes a step, a part of one is put on top of the quickstart and built.
Of a command the options are parsed by the tool's own parser. What no rule covers fails.
"""

import argparse
import ast
import os
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, LOOPS, MODEL_WRAPPERS, MODELS, DefaultScope

from tas_mm import __version__
from tas_mm.analysis.trial import build_model, synthetic_batch, train_step
from tas_mm.config import read_config
from tas_mm.recipes.sources import build_classifier
from tas_mm.student import student_checkpoint, student_config
from tests import networks

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / 'Makefile').read_text()
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('projects/*/*.md')])
FENCE = re.compile(r'^( *)```(\w*)[^\n]*\n(.*?)^\1```$', flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'(?<!`)`((?:python3? (?:-m tas_mm|tools|examples)|tools/\w+\.sh|make) [^`]*|make [\w-]+)`(?!`)')


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def texts(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    return [text for _, given, text in FENCE.findall(page.read_text()) if given == language]


def blocks(language: str) -> list:
    """Page and text of all fenced blocks in a language."""
    return [
        pytest.param(page, text, id=f'{name_of(page)}-{i}')
        for page in PAGES
        for i, text in enumerate(texts(page, language))
    ]


def test_blocks_are_of_a_language_that_is_tested():
    """``text`` or nothing is for output, and for the commands of other projects."""
    for page in PAGES:
        text = page.read_text()
        assert text.count('```') == 2 * len(FENCE.findall(text)), f'{name_of(page)}: a block that is not closed'
        assert {language for _, language, _ in FENCE.findall(text)} <= {'python', 'bash', 'text', ''}, name_of(page)


def test_code_fits_on_the_site_without_scrolling():
    """At 1280 px; see docs/site.css."""
    lines = [
        (name_of(page), line)
        for page in PAGES
        for block in FENCE.finditer(page.read_text())
        for line in block[3].splitlines()
    ]
    for path in ROOT.glob('tas_mm/**/*.py'):  # examples in docstrings
        found = [line for line in path.read_text().splitlines() if line.lstrip().startswith(('>>>', '... '))]
        lines += [(path.name, line.removeprefix(8 * ' ')) for line in found]
    assert [line for line in lines if len(line[1]) > 106] == []


# ---- links ----------------------------------------------------------------------------------------------------------


def test_links_and_files_that_are_named_exist():
    for page in PAGES:
        check_links(page)


def check_links(page: Path) -> None:
    text, name = page.read_text(), name_of(page)
    for link in re.findall(r'\]\(([^)]+)\)', FENCE.sub('', text)):
        if not re.match(r'https?:|mailto:', link):
            path, _, anchor = link.partition('#')
            target = page.parent / path if path else page
            assert target.exists(), f'{name}: link to {link}'
            assert not anchor or anchor in anchors(target), f'{name}: link to {link}'
    for path in re.findall(r'(?:projects|tools|configs|docs|examples|tests)/[\w./-]+\.(?:py|sh|md|svg|png)', text):
        if path.startswith('projects/') and not (ROOT / 'projects').exists():
            continue  # whoever does without them keeps the pages
        assert (ROOT / path).exists() or (page.parent / path).exists() or '*' in path, f'{name}: {path} is named'


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    titles = re.findall(r'^#+ (.*)', page.read_text(), flags=re.MULTILINE)
    return {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles}


def test_all_pages_stand_in_the_navigation():
    site = (ROOT / 'mkdocs.yml').read_text()
    pages = [str(p.relative_to(ROOT / 'docs')) for p in PAGES if ROOT / 'docs' in p.parents]
    assert [p for p in pages if f': {p}\n' not in site and not p.startswith('benchmark/')] == []


def test_citation_is_of_this_version():
    citation = load(ROOT / 'CITATION.cff', file_format='yaml')
    assert citation['version'] == __version__
    assert '2410.12342' in citation['preferred-citation']['url']


# ---- error texts ----------------------------------------------------------------------------------------------------


def literal(node: ast.AST) -> str:
    """A string of the code, with '...' for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return ''.join(map(literal, node.values)) if isinstance(node, ast.JoinedStr) else '...'


def test_error_texts_are_those_of_the_code():
    """Check the tables of docs/troubleshooting.md, except the errors of other packages."""
    trees = [ast.parse(p.read_text()) for folder in ('tas_mm', 'tools') for p in (ROOT / folder).glob('**/*.py')]
    said = {literal(n) for tree in trees for n in ast.walk(tree) if isinstance(n, (ast.Constant, ast.JoinedStr))}
    page = (ROOT / 'docs/troubleshooting.md').read_text().split('## Said by other packages')[0]
    shown = re.findall(r'^\| `(.+?)` \|', page, flags=re.MULTILINE)
    assert len(shown) > 30
    for text in shown:
        parts = [part for part in text.split('...') if part]
        assert any(all(part in one for part in parts) for one in said), text


# ---- Python ---------------------------------------------------------------------------------------------------------


def is_config(text: str) -> bool:
    """A config imports nothing."""
    return not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(ast.parse(text)))


OTHERWISE = {'docs/mixing_in.md', 'docs/own_backbone.md', 'docs/tutorial.md'}  # pages with tests of their own
PYTHON = [p for p in blocks('python') if name_of(p.values[0]) not in OTHERWISE]
SCRIPTS = [p for p in PYTHON if not is_config(p.values[1])]
CONFIGS = [p for p in PYTHON if is_config(p.values[1])]


def exported_student() -> None:
    """Write the file that docs/export.md uses: a checkpoint of Swin-T to ResNet-18."""
    config = read_config(str(ROOT / 'configs/tas/swin_to_r18.py'))
    model = build_classifier('mmpretrain:resnet18_8xb32_in1k', 1000)
    weights = {f'architecture.{name}': value for name, value in model.state_dict().items()}
    Path('work_dirs/swin_to_r18').mkdir(parents=True)
    checkpoint = student_checkpoint(dict(state_dict=weights), student_config(config))
    torch.save(checkpoint, 'work_dirs/swin_to_r18/student_epoch_100.pth')


STAND_INS: dict[str, Callable[[], None]] = {'docs/export.md': exported_student}


def run_scripts(page: Path) -> dict:
    """Execute the blocks of a page in order; what they have defined in the end."""
    names = dict(__name__='my_package.nets')
    for text in texts(page, 'python'):
        if not is_config(text):
            exec(compile(text, f'<{name_of(page)}>', 'exec'), names)
    return names


@pytest.mark.parametrize('page', sorted({p.values[0] for p in SCRIPTS}), ids=name_of)
def test_scripts_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    STAND_INS.get(name_of(page), lambda: None)()
    run_scripts(page)


def test_own_backbone_recipe(build_tas, capsys):
    """Every snippet of docs/own_backbone.md, in order; then the new backbone as student and as teacher."""
    names = run_scripts(ROOT / 'docs' / 'own_backbone.md')
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


@pytest.fixture
def one_process(tmp_path):
    """A process group of one, which some optimizers want."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(('page', 'text'), CONFIGS)
def test_configs_build(page, text, tmp_path, one_process, monkeypatch):
    """A config with a base takes a step; a part of one is read, and what it says is built, on top of the quickstart."""
    monkeypatch.chdir(tmp_path)
    part = '_base_' not in text
    path = tmp_path / 'shown.py'
    path.write_text((f"_base_ = '{ROOT}/configs/quickstart/tas.py'\n" if part else '') + text)
    config = read_config(str(path))
    model = build_model(config)
    if not part:
        losses = train_step(model, synthetic_batch(model), strict=True)
        assert losses['unused_parameters'] == 0
        return
    check_part(Config.fromstring(text, '.py'), config, model)


def check_part(shown: Config, config: Config, model: torch.nn.Module) -> None:
    """Build the part of a config that a page shows, in the whole config."""
    keys = {*shown}
    known = {'model', 'optim_wrapper', 'custom_hooks', 'default_hooks', 'model_wrapper_cfg', 'val_cfg', 'sync_bn'}
    assert keys <= {*known, 'activation_checkpointing'}, f'say here how to test {keys - known}'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        if 'optim_wrapper' in keys:
            build_optim_wrapper(model, config.optim_wrapper)
        for hook in [*shown.get('custom_hooks', []), *shown.get('default_hooks', {}).values()]:
            assert isinstance(HOOKS.build(hook), Hook)
        for registry, key in ((MODEL_WRAPPERS, 'model_wrapper_cfg'), (LOOPS, 'val_cfg')):
            if key in keys:
                given = dict(config[key])
                kind = registry.get(given.pop('type'))
                accepted = {name for base in kind.__mro__ for name in signature(base.__init__).parameters}
                assert given.keys() <= accepted
    for name in shown.get('activation_checkpointing', ()):
        model.get_submodule(name)
    assert shown.get('sync_bn') in (None, 'torch', 'mmcv')


@contextmanager
def suppress_exit() -> Iterator[list]:
    """Collects the status with which a tool ends, if it is another than 0."""
    status: list = []
    try:
        yield status
    except SystemExit as end:
        status.extend([end.code] if end.code else [])


@pytest.mark.long
def test_tutorial_in_small(tmp_path, monkeypatch, capsys):
    """Every command of docs/tutorial.md but those of the shell, in order, with short epochs; then its snippet."""
    for folder in ('configs', 'tools'):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    page = ROOT / 'docs/tutorial.md'
    (config,) = filter(is_config, texts(page, 'python'))
    Path('my_tas.py').write_text(config)
    short = {'teacher.py': 'num_labeled=50', 'my_tas.py': 'times=1', 'student.py': 'times=1', 'tas.py': 'times=1'}
    for text in texts(page, 'bash'):
        for words in commands(text):
            if words[0] != 'python' or words[1] == '-m':
                continue
            if words[1] == 'tools/train.py':
                option = f'train_dataloader.dataset.{short[Path(words[2]).name]}'
                words += ['--cfg-options', option, 'train_cfg.val_interval=20', 'default_hooks.checkpoint.interval=4']
            monkeypatch.setattr(sys, 'argv', words[1:])
            with suppress_exit() as status:
                runpy.run_path(words[1], run_name='__main__')
            assert not status, words
    run_scripts(page)
    assert re.search(r'a \d and in truth a \d', capsys.readouterr().out)
    assert Path('work_dirs/quickstart/curves.png').exists()


# ---- commands -------------------------------------------------------------------------------------------------------


def commands(text: str) -> list[list[str]]:
    """The commands of a block of shell, as words."""
    return [
        shlex.split(line, comments=True)
        for line in text.replace('\\\n', ' ').splitlines()
        if line.split('#')[0].strip()
    ]


COMMANDS = [
    (name_of(page), shlex.join(words))
    for page, text in [p.values for p in blocks('bash')]
    + [(page, code) for page in PAGES for code in INLINE.findall(FENCE.sub('', page.read_text()))]
    for words in commands(text)
]


class Parsed(Exception):
    """The options of a tool are what it takes."""


def parse_with(tool: Path, options: list[str], monkeypatch) -> None:
    """Let a tool parse its options, and stop it there."""
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_only)
    monkeypatch.setattr(sys, 'argv', [tool.name, *options])
    monkeypatch.syspath_prepend(str(tool.parent))
    with pytest.raises(Parsed):
        runpy.run_path(str(tool), run_name='__main__')


def check_python(words: list[str], monkeypatch) -> None:
    """``python FILE ...`` or ``python -m MODULE ...``."""
    if words[0] == '-m':
        module, options = words[1], words[2:]
        if module in ('venv', 'pip'):
            check_install(options) if module == 'pip' else None
            return
        tool = ROOT / (module.replace('.', '/') + '.py')
    else:
        tool, options = ROOT / words[0], words[1:]
    assert tool.is_file(), tool
    if 'argparse' in tool.read_text():
        parse_with(tool, options, monkeypatch)


def check_install(words: list[str]) -> None:
    """``pip install``: extras of tas_mm must be there."""
    assert words[0] in ('install', 'wheel'), words
    extras = re.findall(r'^(\w+) = \[', (ROOT / 'pyproject.toml').read_text(), flags=re.MULTILINE)
    for wanted in re.findall(r'(?:tas_mm|\.)\[([\w,]+)\]', ' '.join(words)):
        assert set(wanted.split(',')) <= {*extras}, wanted


def check_make(words: list[str]) -> None:
    """``make TARGET [VARIABLE=value]``."""
    for word in words:
        variable, equals, _ = word.partition('=')
        if equals:
            assert re.search(rf'\b{variable}\b', MAKEFILE), word
        else:
            assert re.search(rf'^{re.escape(word)}:', MAKEFILE, flags=re.MULTILINE), word


SCRIPT_OPTIONS = {  # script -> how many words it takes before those of the tool that it starts
    'dist_train.sh': (2, 'train.py'),
    'dist_test.sh': (3, 'test.py'),
    'slurm_train.sh': (3, 'train.py'),
}


def check_script(words: list[str], variables: list[str], monkeypatch) -> None:
    """One of the shell scripts: its words, its variables, and the options that it passes on."""
    script = ROOT / words[0]
    number, tool = SCRIPT_OPTIONS[script.name]
    assert len(words) > number
    scripts = [script, *(ROOT / 'tools' / name for name in ('dist_train.sh', 'meet.sh'))]
    for variable in set(variables) - {'PYTHONPATH'}:
        assert any(variable in each.read_text() for each in scripts)
    if tool == 'test.py':
        parse_with(ROOT / 'tools' / tool, ['CONFIG', 'CHECKPOINT', *words[number + 1 :]], monkeypatch)
    else:
        parse_with(ROOT / 'tools' / tool, ['CONFIG', *words[number + 1 :]], monkeypatch)


def test_commands_have_the_options_that_they_take(monkeypatch, capsys):
    problems = []
    for page, command in COMMANDS:
        with monkeypatch.context() as patch:
            try:
                check_command(command, patch)
            except (Exception, SystemExit, pytest.fail.Exception) as error:
                said = capsys.readouterr().err.strip().splitlines()[-1:]
                problems.append(f'{page}: {command}: {error} {said}')
    assert not problems


def check_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'environ', os.environ.copy())
    words = shlex.split(command)
    variables = []
    while re.match(r'[A-Z_]+=', words[0]):
        variables.append(words.pop(0).partition('=')[0])
    program = Path(words[0]).name
    if program in ('python', 'python3'):
        check_python(words[1:], monkeypatch)
    elif program == 'make':
        check_make(words[1:])
    elif program == 'pip':
        check_install(words[1:])
    elif program in SCRIPT_OPTIONS:
        check_script(words, variables, monkeypatch)
    elif program == 'mim':
        command, package, *options = words[1:]
        tool = Path(import_module(package).__file__).parent / '.mim' / 'tools' / f'{command}.py'
        parse_with(tool, [option for option in options if option != '--checkpoint'], monkeypatch)
    elif program == 'ruff':
        assert words[1] in ('check', 'format')
    elif program in ('git', 'cd', 'export', 'source'):
        assert program != 'git' or words[1] in ('clone', 'switch', 'commit', 'add', 'log')
    else:
        pytest.fail(f'no rule says how to test {command!r}')


@pytest.mark.long
def test_mixing_in(tmp_path):
    """Each config of docs/mixing_in.md takes a step; each other snippet runs."""
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
        model = build_model(read_config(str(path)))
        assert type(model.distiller).__name__ == kind
        assert train_step(model, synthetic_batch(model))['unused_parameters'] == 0
    batch = synthetic_batch(names['model'])
    assert train_step(names['model'], batch)['unused_parameters'] == 0
    assert MODELS.get(names['teacher']['type']) is not None
