"""PAT's configs: a pair's own, with another distiller; a step; and the suite of the benchmark."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from projects.pat import PATDistiller
from tas_mm.analysis.benchmark.results import fill_page
from tas_mm.analysis.benchmark.suite import Suite
from tas_mm.analysis.trial import build_model, synthetic_batch, train_step
from tas_mm.config import read_config

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(ROOT.glob('projects/pat/configs/pat_*.py'))


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_differs_from_its_pair_in_the_distiller_and_its_decay_alone(path):
    config = Config.fromfile(path).to_dict()
    expected = Config.fromfile(ROOT / 'configs/tas' / path.name.removeprefix('pat_')).to_dict()
    assert config['model'].pop('distiller') == config.pop('distiller')
    expected['model'].pop('distiller')
    config['optim_wrapper']['paramwise_cfg']['custom_keys'].pop('factor', None)
    assert config == expected
    assert f'PYTHONPATH=. tools/dist_train.sh projects/pat/configs/{path.name} 8' in path.read_text()


@pytest.mark.parametrize(
    'path',
    [pytest.param(p, marks=[] if 'vit_s' in p.stem else pytest.mark.all_configs) for p in CONFIGS],
    ids=lambda path: path.stem,
)
def test_a_config_takes_a_step_and_its_prompts_factors_do_not_decay(path):
    config = read_config(str(path))
    model = build_model(config)
    assert isinstance(model.distiller, PATDistiller)
    losses = train_step(model, synthetic_batch(model), strict=True)
    assert losses['distill.loss_pat'] > 0
    assert losses['unused_parameters'] == 0
    factors = {id(p) for name, p in model.named_parameters() if name.endswith('.factor')}
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    decays = [group['weight_decay'] for group in groups for p in group['params'] if id(p) in factors]
    assert decays == [0.0, 0.0, 0.0]


def test_the_suite_puts_pat_beside_others(tmp_path):
    suite = Suite('projects/pat/configs/suite.py', tmp_path)
    assert {run.method for run in suite.runs} == {'alone', 'kd', 'rsd', 'tas', 'tas, best', 'pat'}
    run = next(run for run in suite.runs if run.method == 'pat')
    assert run.cfg.model.distiller.type == 'projects.pat.PATDistiller'
    assert (len(suite.runs), len(suite.teachers)) == (6 * 6 * 5, 4)


def test_the_page_shows_what_the_raw_lines_say(tmp_path):
    suite = Suite('projects/pat/configs/suite.py', tmp_path)
    kept = Path('projects/pat/results.jsonl')
    assert suite.adopt(kept) == len(kept.read_text().splitlines())
    suite.adopt('docs/benchmark/cpu.jsonl')
    page = Path('projects/pat/README.md').read_text()
    assert '<!-- gain: labels_1000 -->' in page
    assert fill_page(page, suite.rows, 'tas, best') == page
