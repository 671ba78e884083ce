"""Suites: what is run, what is not run twice, and the arithmetic of the tables."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tas_mm.analysis.benchmark import fingerprint as fingerprints
from tas_mm.analysis.benchmark.fingerprint import fingerprint
from tas_mm.analysis.benchmark.results import Results, fill_page, settings_table
from tas_mm.analysis.benchmark.run import TRAINED_BY, execute, read_data
from tas_mm.analysis.benchmark.suite import Suite
from tas_mm.recipes.methods import read_once
from tas_mm.recipes.sources import build_classifier_from
from tas_mm.registry import DATASETS
from tests.tools import ROOT, run_tool

SUITE = """
compare = {compare!r}
pairs = dict(one='{root}/configs/quickstart/tas.py', two='{folder}/two.py')
methods = dict(alone=None, tas=dict(type='tas_mm.TASDistiller'))
settings = dict(few={few})
seeds = 2
seed_keys = ['randomness.seed', 'train_dataloader.dataset.dataset.seed']
"""


@pytest.fixture
def suite(tmp_path):
    """A suite of two pairs that differ in their teacher only."""
    (tmp_path / 'two.py').write_text(f"_base_ = '{ROOT}/configs/quickstart/tas.py'\nmodel = dict(teacher_ckpt='b.pth')")

    def make(compare='tas', **few) -> Suite:
        (tmp_path / 'suite.py').write_text(SUITE.format(root=ROOT, folder=tmp_path, few=few, compare=compare))
        return Suite(str(tmp_path / 'suite.py'), tmp_path)

    return make


def test_a_student_alone_is_trained_once_for_all_its_teachers(suite):
    runs = suite().missing
    assert [run.name for run in runs] == [
        *('few/one/alone/0', 'few/one/tas/0', 'few/two/tas/0'),
        *('few/one/alone/1', 'few/one/tas/1', 'few/two/tas/1'),
    ]


def normalized(cfg: dict) -> dict:
    return dict(data_preprocessor=cfg['data_preprocessor']) if 'data_preprocessor' in cfg else {}


def test_methods_differ_in_nothing_but_the_distiller(suite):
    alone, tas = (run.cfg.to_dict() for run in suite().runs[:2])
    assert alone['model'] == dict(tas['model']['architecture'], _scope_='mmpretrain', **normalized(alone))
    assert {key for key in alone if alone[key] != tas[key]} == {'model'}
    assert alone['randomness']['seed'] == 0


@pytest.mark.parametrize('name', [path.stem for path in sorted((ROOT / 'configs/benchmark/suites').glob('*.py'))])
def test_suites_are_whole(name):
    """Every pair and method is found, and every pair has its student alone to be compared with."""
    suite = Suite(f'tas_mm::benchmark/suites/{name}.py', 'work')
    for run in suite.runs:
        assert (run.cfg.model.type == 'tas_mm.TAS') == (run.method != 'alone'), run.name
    cells = {(run.setting, run.pair, run.method) for run in suite.runs}
    assert {(setting, pair, 'alone') for setting, pair, _ in cells} <= cells


@pytest.fixture(scope='module')
def cpu(tmp_path_factory) -> Suite:
    """The suite of the report, which has 1,368 runs."""
    return Suite('tas_mm::benchmark/suites/cpu.py', tmp_path_factory.mktemp('cpu'))


def test_the_size_of_its_images_stays_with_the_pair(cpu):
    chosen = [run for run in cpu.runs if run.pair == 'cnn_to_cnn' and run.setting == 'labels_1000']
    models = {run.method: run.cfg.model for run in chosen}
    assert models['kd'].distiller.input_size == models['tas'].distiller.input_size == 28
    assert models['alone'].type == 'ImageClassifier'


def test_a_finished_run_is_not_repeated_unless_its_config_changes(suite):
    for run in suite().runs:
        run.dir.mkdir(parents=True, exist_ok=True)
        run.file.write_text('{"metrics": {}}')
    assert not suite().missing
    assert len(suite().rows) == 8
    assert len(suite(options={'train_cfg.max_epochs': 7}).missing) == 6
    assert len(suite(options={'default_hooks.logger.interval': 7}).missing) == 0
    assert len(suite(options={'default_hooks.ema': dict(type='EMAHook')}).missing) == 6
    assert len(suite(options={'auto_scale_lr': dict(base_batch_size=8, enable=True)}).missing) == 6


def test_results_from_elsewhere_are_taken_over_by_what_was_run(suite, tmp_path):
    there = suite()
    for number, run in enumerate(there.runs):
        run.dir.mkdir(parents=True, exist_ok=True)
        run.file.write_text(json.dumps({'metrics': {'accuracy/top1': number}}))
    lines = [json.dumps(row) for row in there.rows] + ['{"setting": "few", "metrics": {}}']
    (tmp_path / 'there.jsonl').write_text('\n'.join(lines))
    rows = there.rows
    shutil.rmtree(tmp_path / 'runs')
    here = suite()
    assert len(here.missing) == 6
    assert here.adopt(tmp_path / 'there.jsonl') == 6
    assert here.rows == [dict(row, elsewhere=True) for row in rows]
    assert suite(options={'train_cfg.max_epochs': 7}).adopt(tmp_path / 'there.jsonl') == 0


def test_kept_results_are_known(cpu):
    lines = (ROOT / 'docs/benchmark/cpu.jsonl').read_text().splitlines()
    assert {json.loads(line)['run'] for line in lines} <= {run.key for run in cpu.runs}
    assert cpu.adopt(ROOT / 'docs/benchmark/cpu.jsonl') == len({json.loads(line)['run'] for line in lines})


def test_the_report_shows_what_the_raw_lines_say():
    page = (ROOT / 'docs/benchmark.md').read_text()
    settings = set()
    for suite, table in (('cpu', '<!-- gain: labels_1000 -->'), ('ablation', '<!-- settings: two_pairs six_pairs -->')):
        rows = [json.loads(line) for line in (ROOT / f'docs/benchmark/{suite}.jsonl').read_text().splitlines()]
        assert table in page
        assert fill_page(page, rows, 'tas, best') == page
        settings |= {row['setting'] for row in rows}
    assert settings.issuperset(' '.join(re.findall(r'<!-- \w+: ([\w ]+) -->', page)).split())


def test_the_report_is_short():
    words = re.findall(r'\S*\w\S*', (ROOT / 'docs/benchmark.md').read_text())
    assert len(words) <= 1200, len(words)


def test_pages_quote_figures_of_the_report_or_its_log():
    known = ''.join(
        (ROOT / 'docs' / name).read_text() for name in ('benchmark.md', 'benchmark/cpu.md', 'benchmark/log.md')
    )
    for name in ('README.md', 'docs/choosing_a_teacher.md', 'docs/baselines.md', 'docs/how_it_works.md'):
        quoted = set(re.findall(r'[-+\d.]+ ± [\d.]+\d|[-+]\d+\.\d\d\b', (ROOT / name).read_text()))
        assert not {figure for figure in quoted if figure.lstrip('+') not in known}, name


def test_a_fingerprint_outlives_renames_and_hooks_that_decide_nothing(monkeypatch):
    old = Config(dict(model=dict(type='tas_mm.Old', size=3), default_hooks=dict(seed=dict(type='tas_mm.OldHook'))))
    new = Config(dict(model=dict(type='tas_mm.New', size=3), default_hooks=dict(seed=dict(type='tas_mm.NewHook'))))
    key = fingerprint(old)
    assert fingerprint(new) != key
    monkeypatch.setattr(fingerprints, 'FIRST_NAMES', {'tas_mm.New': 'tas_mm.Old', 'tas_mm.NewHook': 'tas_mm.OldHook'})
    assert fingerprint(new) == key
    new.default_hooks.progress_bar = dict(type='tas_mm.ProgressBarHook')
    assert fingerprint(new) == key
    new.model.size = 4
    assert fingerprint(new) != key


def test_a_teacher_trained_by_another_config_is_refused_and_its_runs_are_others(tmp_path):
    (tmp_path / 'teacher.py').write_text(f"_base_ = '{ROOT}/configs/quickstart/teacher.py'")
    where = f"teacher='{tmp_path}/teacher.py', teacher_ckpt='{tmp_path}/taught/epoch_2.pth'"
    (tmp_path / 'two.py').write_text(f"_base_ = '{ROOT}/configs/quickstart/tas.py'\nmodel = dict({where})")
    (tmp_path / 'suite.py').write_text(SUITE.format(root=ROOT, folder=tmp_path, few={'pairs': ['two']}, compare='tas'))
    before = Suite(str(tmp_path / 'suite.py'), tmp_path)
    (tmp_path / 'taught').mkdir()
    (tmp_path / 'taught' / TRAINED_BY).write_text(fingerprint(Config.fromfile(tmp_path / 'teacher.py')))
    assert [run.dir for run in Suite(str(tmp_path / 'suite.py'), tmp_path).runs] == [run.dir for run in before.runs]
    (tmp_path / 'other.py').write_text((tmp_path / 'teacher.py').read_text() + '\ntrain_cfg = dict(max_epochs=99)')
    (tmp_path / 'two.py').write_text((tmp_path / 'two.py').read_text().replace('/teacher.py', '/other.py'))
    read_once.cache_clear()
    with pytest.raises(ValueError, match=r"epoch_2.pth' was trained by another config than .*/other.py is now"):
        Suite(str(tmp_path / 'suite.py'), tmp_path)
    (tmp_path / 'taught' / TRAINED_BY).unlink()
    after = Suite(str(tmp_path / 'suite.py'), tmp_path)
    same = {run.method for run, other in zip(before.runs, after.runs) if run.dir == other.dir}
    assert same == {'alone'}


@pytest.mark.parametrize('name', ['cnn', 'mixer', 'swin', 'vit'])
def test_kept_teachers_are_what_their_configs_train(name):
    cfg = Config.fromfile(ROOT / f'configs/benchmark/teachers/{name}.py')
    folder = ROOT / 'docs/benchmark/teachers' / name
    assert (folder / TRAINED_BY).read_text() == fingerprint(cfg)
    weights = torch.load(folder / f'iter_{cfg.train_cfg.max_iters}.pth')['state_dict']
    build_classifier_from(cfg.model).load_state_dict(weights)
    pairs = map(Config.fromfile, (ROOT / 'configs/benchmark').glob(f'{name}_to_*.py'))
    asked = {pair.model.teacher_ckpt for pair in pairs}
    assert asked == {f'work_dirs/benchmark/teachers/{name}/iter_{cfg.train_cfg.max_iters}.pth'}


def test_a_student_begins_alike_with_every_method(suite, monkeypatch, tmp_path):
    began = []

    def begin(runner: Runner) -> None:
        runner._init_model_weights()
        began.append(runner.model)
        raise InterruptedError

    monkeypatch.setattr(Runner, 'train', begin)
    for run in suite(options={'model.teacher_ckpt': None}, pairs=['one']).runs[:2]:
        with pytest.raises(InterruptedError):
            execute(run.cfg, tmp_path / run.method)
    alone, distilled = began[0].state_dict(), began[1].architecture.state_dict()
    assert all(torch.equal(value, distilled[key]) for key, value in alone.items())


def test_two_processes_never_train_the_same_run(suite, monkeypatch, tmp_path):
    began = []
    monkeypatch.setattr(Runner, 'train', lambda runner: began.append(runner) or execute(run.cfg, run.dir))
    run = suite(options={'model.teacher_ckpt': None}).runs[0]
    with pytest.raises(RuntimeError, match='another process is training there'):  # a second claim
        execute(run.cfg, run.dir)
    assert len(began) == 1


def test_runs_read_their_data_once_and_draw_their_own_part_of_it():
    digits = dict(type='tas_mm.Digits', split='train', pipeline=[])
    first, second = (
        read_data(dict(type='tas_mm.LabeledSubset', dataset=digits, num_labeled=20, seed=seed)) for seed in range(2)
    )
    assert first['dataset'] is second['dataset']
    parts = [DATASETS.build(part) for part in (first, second)]
    assert [len(part) for part in parts] == [20, 20]
    drawn = [np.stack([part.get_data_info(i)['img'] for i in range(20)]) for part in parts]
    assert not np.array_equal(*drawn)
    assert len(first['dataset']) == len(DATASETS.build(digits))


def test_unknown_names_are_refused(suite):
    with pytest.raises(ValueError, match=r"settings.few.methods: unknown name 'tass'. Expected one of tas"):
        suite(methods=['tass'])
    with pytest.raises(ValueError, match=r"compare: unknown name 'tass'. Expected one of tas"):
        suite(compare='tass')


def row(method, pair, seed, accuracy, seconds=1.0):
    return dict(
        **dict(setting='s', method=method, pair=pair, seed=seed, metrics={'accuracy/top1': accuracy}),
        **dict(seconds_per_step=seconds, peak_mib=100.0, added_parameters=0),
    )


def test_tables_by_hand():
    rows = [
        row('alone', 'a', 0, 70.0),
        row('alone', 'a', 1, 72.0),
        row('alone', 'b', 0, 60.0),
        row('alone', 'b', 1, 60.0),
    ]
    rows += [row('kd', 'a', 0, 74.0), row('kd', 'a', 1, 74.0), row('kd', 'b', 0, 62.0), row('kd', 'b', 1, 66.0)]
    rows += [row('tas', 'a', 0, 80.0, 3.0), row('tas', 'a', 1, 84.0, 2.0)]
    header, lines = Results(rows, 's').accuracy_table()
    assert header == ['method', 'a', 'b', 'mean', 'gain over alone', 'rank']
    assert lines == [
        ['alone', '71.00 ± 1.41', '60.00 ± 0.00', '65.50 ± 0.71', '+0.00 ± 0.00', '2'],
        ['kd', '74.00 ± 0.00', '64.00 ± 2.83', '69.00 ± 1.41', '+3.50 ± 0.71', '1'],  # gains 3 and 4, by seed
        ['tas', '82.00 ± 2.83', '-', '-', '-', '-'],  # no mean of what is not there
    ]
    _, lines = Results([*rows, row('alone', 'a', 2, 74.0), row('alone', 'b', 2, 60.0)], 's').accuracy_table()
    assert lines[1] == ['kd', '74.00 ± 0.00 (2)', '64.00 ± 2.83 (2)', '69.00 ± 1.41 (2)', '+3.50 ± 0.71 (2)', '-']
    header, lines = Results(rows, 's').paired_table('tas')
    assert header == ['tas minus', 'a', 'b', 'mean']
    assert lines == [['alone', '+11.00 ± 1.41', '-', '-'], ['kd', '+8.00 ± 2.83', '-', '-']]  # 10 and 12; 6 and 10
    rest = [row('tas', 'b', seed, 70.0) for seed in range(2)]
    elsewhere = [dict(each, setting='t') for each in rows if each['seed'] == 0 and each['method'] != 'tas']
    header, lines = settings_table([*rows, *rest, *elsewhere], ['s', 't'], 'kd')
    assert header == ['kd minus', 's (2)', 't (1)']
    assert lines == [['alone', '+3.50 ± 0.71', '+3.00'], ['tas', '-7.00 ± 0.00', '-']]  # 68 - 75, 70 - 77
    header, lines = Results(rows, 's').cost_table()
    assert lines[2][:3] == ['tas', '2.500', '2.50']
    foreign = [dict(each, elsewhere=each['seed'] == 1 or each['method'] == 'alone') for each in rows]
    _, lines = Results(foreign, 's').cost_table()
    assert [line[:3] for line in lines] == [['alone', '-', '-'], ['kd', '1.000', '1.00'], ['tas', '3.000', '3.00']]


@pytest.mark.long
def test_the_tool_runs_what_is_missing_and_nothing_twice(tmp_path):
    """Two real runs on the digits, the second call finding them done; the config that it kept is complete."""
    suite = tmp_path / 'tiny.py'
    suite.write_text(
        f"_base_ = '{ROOT}/configs/benchmark/suites/smoke.py'\nseeds = 1\n"
        "methods = dict(_delete_=True, alone=None, tas=dict(type='tas_mm.TASDistiller'))\n"
        "options = {'model.teacher_ckpt': None, 'train_cfg.max_epochs': 3, 'train_dataloader.dataset.times': 2}\n"
    )
    command = ['tools/benchmark.py', suite, '--work-dir', tmp_path / 'work']
    first = run_tool(*command)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    results = sorted((tmp_path / 'work/runs').glob('*/result.json'))
    assert len(results) == 2
    written = [path.stat().st_mtime_ns for path in results]
    rows = [json.loads(line) for line in (tmp_path / 'work/tiny.jsonl').read_text().splitlines()]
    assert {'accuracy/top1', 'assistant.accuracy/top1'} <= rows[1]['metrics'].keys()
    assert rows[1]['added_parameters'] > rows[0]['added_parameters'] == 0
    assert '| tas |' in (tmp_path / 'work/tiny.md').read_text()
    assert (tmp_path / 'work/tiny_digits.png').read_bytes().startswith(b'\x89PNG')
    again = run_tool(*command)
    assert '2 of 2 cells' in again.stdout
    assert written == [path.stat().st_mtime_ns for path in results]
    for option, error in ((['--only', '/tsa/'], 'Closest names: digits/vit_to_cnn/'), (['--jobs', '-1'], 'at least 1')):
        refused = run_tool(*command, *option)
        assert refused.returncode
        assert error in refused.stderr
