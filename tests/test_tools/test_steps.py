"""The tools that look at a training step, on configs and numbers other than the usual."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))


@pytest.fixture
def measure(monkeypatch, capsys):
    """Run tools/benchmark_step.py in this process; what it prints."""

    def measure(*arguments: object) -> str:
        import benchmark_step

        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])
        benchmark_step.main()
        return capsys.readouterr().out

    return measure


def test_the_profile_of_a_distillation_without_an_assistant(measure, tmp_path):
    config = tmp_path / 'kd.py'
    config.write_text(
        f"_base_ = ['{ROOT}/configs/quickstart/tas.py', '{ROOT}/configs/_base_/distillers/kd.py']\n"
        'model = dict(distiller=dict(_delete_=True, **_base_.distiller))\n'
    )
    printed = measure('--profile', config, '--batch-size', 2, '--rounds', 1)
    assert 'student forward' in printed
    assert 'assistant' not in printed


def test_a_cached_teacher_changes_no_loss_beyond_rounding(measure):
    printed = measure('--cache', 'configs/quickstart/tas.py', '--batch-size', 2, '--rounds', 1, '--device', 'cpu')
    row = printed.splitlines()[1].split()
    assert row[0] == 'tas'
    assert float(row[-1]) < 0.01


def test_methods_are_compared_on_a_pair_and_with_plain_mmrazor(measure):
    methods = ['kd', 'mmrazor:kd', 'tas_lean', 'tas+model.teacher_dtype=bfloat16', 'mmrazor:dkd']
    printed = measure(
        '--pair', 'configs/quickstart/tas.py', *methods, '--batch-size', 2, '--rounds', 1, '--device', 'cpu'
    )
    rows = [line.split() for line in printed.splitlines()]
    assert [row[0] for row in rows if row][-6:-1] == methods
    kd, plain = rows[-6], rows[-5]
    assert kd[-2:] == plain[-2:] == ['0.70', 'M']  # what trains: the student alone
    assert kd[6] == plain[6] == '1.00'  # multiply-adds


@pytest.mark.parametrize(
    ('method', 'error'),
    [('kdd', "unknown method 'kdd'. Expected one of"), ('kd+model.teacher_dtype', 'is not an option')],
)
def test_unknown_methods_are_named(measure, method, error):
    with pytest.raises(SystemExit, match=error):
        measure('--pair', 'configs/quickstart/tas.py', method)


@pytest.mark.parametrize('tool', ['check_config', 'benchmark_step'])
@pytest.mark.parametrize('number', ['0', 'few'])
def test_a_batch_of_nothing_is_refused(monkeypatch, capsys, tool, number):
    monkeypatch.setattr(sys, 'argv', ['tool', 'configs/quickstart/tas.py', '--batch-size', number])
    with pytest.raises(SystemExit):
        importlib.import_module(tool).main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument --batch-size: '{number}'" in said
    assert 'whole number of at least 1' in said
