"""Real runs of the real tools on real digits: train, validate, kill, resume, test, compare."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tas_mm.engine.launch import use_mixed_precision
from tests.tools import ROOT, run_tool

ENV = dict(os.environ, OMP_NUM_THREADS='1')
PYTHON = [sys.executable, '-W', 'ignore']


def run(*command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess:
    result = run_tool(*command, env=env)
    assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def metrics(work_dir: Path) -> dict:
    """The last validation of a run."""
    lines = [json.loads(line) for log in sorted(work_dir.glob('*/vis_data/scalars.json')) for line in log.open()]
    return [line for line in lines if 'accuracy/top1' in line][-1]


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """The quickstart's teacher after three short epochs."""
    work_dir = tmp_path_factory.mktemp('runs') / 'teacher'
    options = ('train_cfg.max_epochs=3', 'train_cfg.val_interval=3', 'train_dataloader.dataset.num_labeled=200')
    run('tools/train.py', 'configs/quickstart/teacher.py', '--work-dir', str(work_dir), '--cfg-options', *options)
    return work_dir / 'epoch_3.pth'


def options(teacher: Path, *more: str) -> list[str]:
    """The quickstart's distillation, cut down to three epochs of four steps."""
    cut = ['train_cfg.max_epochs=3', 'train_dataloader.dataset.times=4', *more]
    return ['--cfg-options', f'model.teacher_ckpt={teacher}', *cut]


@pytest.fixture(scope='module')
def distilled(teacher, tmp_path_factory):
    """The work folder of an uninterrupted run."""
    work_dir = tmp_path_factory.mktemp('runs') / 'tas'
    run('tools/train.py', 'configs/quickstart/tas.py', '--work-dir', str(work_dir), *options(teacher))
    return work_dir


def test_every_network_is_validated_under_its_own_key(distilled, teacher):
    values = metrics(distilled)
    log = next(distilled.glob('*/*.log')).read_text()
    assert {'accuracy/top1', 'assistant.accuracy/top1'} <= values.keys()
    assert metrics(teacher.parent)['accuracy/top1'] == metrics_at_first(distilled)['teacher.accuracy/top1']
    assert log.count('teacher.accuracy/top1') == 1  # measured once, and not repeated as if it were new
    assert log.count('assistant.accuracy/top1') == 3
    assert 'distill.loss_as_nce' in log
    assert 'eta' in log
    assert 'NO TRAINED WEIGHTS' not in log


def metrics_at_first(work_dir: Path) -> dict:
    lines = [json.loads(line) for line in next(work_dir.glob('*/vis_data/scalars.json')).open()]
    return next(line for line in lines if 'accuracy/top1' in line)


def test_checkpoint_holds_no_teacher(distilled, teacher):
    state = torch.load(distilled / 'epoch_3.pth', weights_only=False)['state_dict']
    assert {key.split('.')[0] for key in state} == {'architecture', 'distiller'}
    assert not any('teacher' in key for key in state)


def test_testing_gives_the_accuracy_of_the_log_without_the_teacher(distilled, tmp_path):
    out = tmp_path / 'metrics.json'
    run(
        *('tools/test.py', 'configs/quickstart/tas.py', str(distilled / 'epoch_3.pth'), '--out', str(out)),
        *('--work-dir', str(tmp_path), '--cfg-options', 'model.teacher_ckpt=/nowhere.pth'),
    )
    assert json.loads(out.read_text())['accuracy/top1'] == metrics(distilled)['accuracy/top1']


def test_a_preprocessor_inside_the_model_counts_in_testing_too(distilled, tmp_path):
    """The model as the README's Python users write it: its accuracy must not depend on where the mean stands."""
    config, out = tmp_path / 'inside.py', tmp_path / 'metrics.json'
    config.write_text(
        f"_base_ = '{ROOT}/configs/quickstart/tas.py'\n"
        'model = dict(data_preprocessor=_base_.data_preprocessor)\ndata_preprocessor = None\n'
    )
    run('tools/test.py', str(config), str(distilled / 'epoch_3.pth'), '--out', str(out), '--work-dir', str(tmp_path))
    assert json.loads(out.read_text())['accuracy/top1'] == metrics(distilled)['accuracy/top1']


LAUNCHED = """
import runpy, sys, torch
sys.argv = [*sys.argv[1:], '--launcher', 'pytorch']
runpy.run_path(sys.argv[0], run_name='__main__')
assert not torch.distributed.is_initialized()
"""
ALONE = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')


def test_a_process_leaves_its_group_when_the_run_has_ended(distilled, tmp_path):
    """Else a finished run can end with "terminate called without an active exception" (pytorch#190489)."""
    script = tmp_path / 'launched.py'
    script.write_text(LAUNCHED)
    work_dir = ['--work-dir', str(tmp_path)]
    short = ['--cfg-options', 'train_cfg.max_epochs=3', 'train_dataloader.dataset.num_labeled=50']
    run(str(script), 'tools/test.py', 'configs/quickstart/tas.py', str(distilled / 'epoch_3.pth'), *work_dir, **ALONE)
    run(str(script), 'tools/train.py', 'configs/quickstart/teacher.py', *work_dir, *short, **ALONE)


@pytest.mark.long
def test_a_killed_run_goes_on_from_its_last_checkpoint(teacher, tmp_path):
    command = ['tools/train.py', 'configs/quickstart/tas.py', '--work-dir', str(tmp_path)]
    process = subprocess.Popen(
        [*PYTHON, *command, *options(teacher)], cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not (tmp_path / 'last_checkpoint').exists() and time.monotonic() < deadline:
        assert process.poll() is None, 'the run ended before its first checkpoint'
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'epoch_3.pth').exists()
    run(*command, '--resume', *options(teacher))
    checkpoint = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == 12
    logs = [log.read_text() for log in sorted(tmp_path.glob('*/*.log'))]
    assert len(logs) == 2
    assert 'resumed epoch' in logs[1]


def test_comparing_runs_prints_a_table_and_draws(distilled, teacher, tmp_path):
    picture = tmp_path / 'curves.png'
    out = run('tools/compare_runs.py', str(teacher.parent), str(distilled), '--out', str(picture)).stdout
    assert f'{metrics(distilled)["accuracy/top1"]:.2f}' in out
    assert 'assistant' in out
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_missing_teacher_stops_before_training(tmp_path):
    command = ('tools/train.py', 'configs/quickstart/tas.py', '--work-dir', str(tmp_path))
    result = run(*command, '--cfg-options', 'model.teacher_ckpt=nowhere.pth', check=False)
    assert result.returncode != 0
    assert "model.teacher_ckpt: 'nowhere.pth' does not exist" in result.stderr


def test_mixed_precision_without_a_gpu_is_refused_in_plain_words(tmp_path):
    command = ('tools/train.py', 'configs/quickstart/tas.py', '--work-dir', str(tmp_path), '--amp')
    result = run(*command, check=False, CUDA_VISIBLE_DEVICES='')
    assert result.returncode != 0
    assert '--amp: MMEngine trains in mixed precision on a GPU only' in result.stderr


@pytest.mark.parametrize(('dtype', 'scale'), [('float16', 'dynamic'), ('bfloat16', 1.0)])
def test_mixed_precision_scales_the_loss_of_float16_alone(dtype, scale):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', clip_grad=dict(max_norm=5.0))))
    use_mixed_precision(cfg, dtype)
    assert cfg.optim_wrapper == dict(
        type='AmpOptimWrapper', dtype=dtype, loss_scale=scale, clip_grad=dict(max_norm=5.0)
    )
