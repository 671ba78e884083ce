"""The tools that look at a training step, on configs and numbers other than the usual."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))


@pytest.fixture
def given(monkeypatch):
    """Arguments of a tool's command line."""
    return lambda *arguments: monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])


def test_profile_step_of_a_distillation_without_an_assistant(given, tmp_path, capsys):
    import profile_step

    config = tmp_path / 'kd.py'
    config.write_text(
        f"_base_ = ['{ROOT}/configs/quickstart/tas.py', '{ROOT}/configs/_base_/distillers/kd.py']\n"
        'model = dict(distiller=dict(_delete_=True, **_base_.distiller))\n'
    )
    given(config, '--batch-size', 2, '--rounds', 1)
    profile_step.main()
    printed = capsys.readouterr().out
    assert 'student forward' in printed
    assert 'assistant' not in printed


def test_methods_are_compared_on_a_pair_and_with_plain_mmrazor(given, capsys):
    import benchmark_step

    methods = ['kd', 'mmrazor:kd', 'tas_lean', 'tas+model.teacher_dtype=bfloat16']
    given('--pair', 'configs/quickstart/tas.py', *methods, '--batch-size', 2, '--rounds', 1, '--device', 'cpu')
    benchmark_step.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if row][-5:-1] == methods
    kd, plain = rows[-5], rows[-4]
    assert kd[-2:] == plain[-2:] == ['0.70', 'M']  # what trains: the student alone
    assert kd[6] == plain[6] == '1.00'  # multiply-adds


@pytest.mark.parametrize(
    ('method', 'error'),
    [('kdd', 'no method is called'), ('kd+model.teacher_dtype', "'model.teacher_dtype' is no option")],
)
def test_methods_that_are_none_are_named(given, method, error):
    import benchmark_step

    given('--pair', 'configs/quickstart/tas.py', method)
    with pytest.raises(SystemExit, match=error):
        benchmark_step.main()


@pytest.mark.parametrize('tool', ['check_config', 'check_pair', 'benchmark_step', 'benchmark_cache', 'profile_step'])
@pytest.mark.parametrize('number', ['0', 'few'])
def test_a_batch_of_nothing_is_refused(given, capsys, tool, number):
    given('configs/quickstart/tas.py', '--batch-size', number)
    with pytest.raises(SystemExit):
        importlib.import_module(tool).main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"error: argument --batch-size: '{number}', but valid is a whole number of at least 1")
