"""Checkpoints are read without running code that they bring, where our policy is on."""

import os
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint

from tas_mm.models.loading import read_checkpoint, safe_loading
from tas_mm.models.teachers import build_teacher
from tests import networks


def test_the_policy_is_off_until_it_is_switched_on_and_off_again(tmp_path):
    path = str(tmp_path / 'other.pth')
    torch.save(dict(extra=Path('somewhere')), path)
    before = CheckpointLoader.load_checkpoint
    with safe_loading(), safe_loading():
        assert CheckpointLoader.load_checkpoint != before
        with pytest.raises(UnpicklingError, match='was not loaded'):
            CheckpointLoader.load_checkpoint(path)
    assert CheckpointLoader.load_checkpoint == before
    assert torch.load(path, weights_only=False)['extra'] == Path('somewhere')


def test_the_policy_ends_with_an_error_too():
    before = CheckpointLoader.load_checkpoint
    with pytest.raises(KeyError), safe_loading():
        raise KeyError
    assert CheckpointLoader.load_checkpoint == before


class Wants:
    """Pickles as a call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ('call', 'wanted'),
    [
        ((os.system, ('touch harmed',)), 'posix.system'),
        ((eval, ("open('harmed', 'w')",)), 'eval'),
        ((getattr, (HistoryBuffer, '__init__')), r'getattr\(HistoryBuffer,__init__\)'),
        ((getattr, (HistoryBuffer(), 'mean')), r'getattr\(HistoryBuffer,mean\)'),
        ((Path, ('somewhere',)), r'pathlib\.(_local\.)?Path'),  # its module since Python 3.13
    ],
)
def test_a_checkpoint_that_wants_more_is_refused_and_named(tmp_path, monkeypatch, call, wanted):
    """Also the first step of every way to the interpreter through getattr."""
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=dict(weight=torch.zeros(2)), extra=Wants(*call)), 'bad.pth')
    with pytest.raises(
        UnpicklingError, match=rf"'bad.pth' was not loaded: it contains '{wanted}'.*LOAD=1 in the environment"
    ):
        read_checkpoint('bad.pth')
    assert not Path('harmed').exists()


def test_a_refusal_is_no_fallback_and_leaves_torch_as_it_was(tmp_path, monkeypatch):
    path = str(tmp_path / 'bad.pth')
    torch.save(dict(extra=Wants(Path, ('somewhere',))), path)
    with pytest.raises(UnpicklingError):
        read_checkpoint(path)
    assert torch.load(path, weights_only=False)['extra'] == Path('somewhere')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    assert read_checkpoint(path)['extra'] == Path('somewhere'), 'whoever means it can'


def test_all_ways_to_weights_refuse(tmp_path, build):
    path = str(tmp_path / 'bad.pth')
    torch.save(dict(extra=Wants(Path, ('somewhere',))), path)
    teacher = networks.resnet_cifar()
    with pytest.raises(ValueError, match=r"model.teacher_ckpt='.*bad.pth' .*it contains 'pathlib.*Path'"):
        build_teacher(teacher, path)
    with pytest.raises(UnpicklingError, match='it contains'), safe_loading():
        build(dict(teacher, init_cfg=dict(type='Pretrained', checkpoint=path)))
    with pytest.raises(UnpicklingError, match='it contains'), safe_loading():
        load_checkpoint(torch.nn.Linear(1, 1), path)


def test_a_url_is_restricted_too(tmp_path, monkeypatch):
    """MMEngine and torch fetch it with weights_only=False."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    torch.save(dict(extra=Wants(Path, ('somewhere',))), tmp_path / 'checkpoints' / 'fetched.pth')
    with pytest.raises(UnpicklingError, match="'https://host/fetched.pth' was not loaded: it contains 'pathlib.*Path'"):
        read_checkpoint('https://host/fetched.pth')


@pytest.mark.parametrize('name', [name for name in PARAM_SCHEDULERS.module_dict if name.endswith('LR')])
def test_the_state_of_every_scheduler_loads(tmp_path, name):
    arguments = dict(
        ConstantLR={},
        CosineRestartLR=dict(periods=[2], eta_min=0, restart_weights=[1]),
        ExponentialLR=dict(gamma=0.9),
        MultiStepLR=dict(milestones=[1]),
        OneCycleLR=dict(eta_max=1, total_steps=4),
        StepLR=dict(step_size=1),
        CosineAnnealingLR=dict(T_max=4),
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = PARAM_SCHEDULERS.get(name)(optimizer, **arguments.get(name, {}))
    path = str(tmp_path / 'scheduler.pth')
    torch.save(scheduler.state_dict(), path)
    assert read_checkpoint(path).keys() == scheduler.state_dict().keys()


def test_a_corrupt_checkpoint_is_named(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(weight=torch.zeros(100)), path)
    os.truncate(path, 500)
    with pytest.raises(ValueError, match=r'epoch_1.pth. cannot be used: it is truncated'):
        read_checkpoint(str(path))
