"""The stack imports, nothing that works is touched, and what is missing says why."""

import os
import sys
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import ModuleDict
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from mmengine.runner.checkpoint import CheckpointLoader, get_state_dict, load_checkpoint
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmpretrain.utils import dependency

from tas_mm import compat
from tas_mm.compat import checkpoint, classifiers, multimodal, razor, vision
from tas_mm.models.algorithms.teacher import build_teacher
from tests import networks


def test_nothing_is_adapted_where_the_original_works():
    """All are adapted by now: running the adapters again finds them working and leaves them alone."""
    adapted = {}
    register_fake = torch.library.register_fake
    vision.adapt(adapted)
    multimodal.adapt(adapted)
    razor._import_past_version_cap(adapted)
    classifiers.adapt(adapted)
    checkpoint.adapt(adapted)
    assert adapted == {}
    assert torch.library.register_fake is register_fake


@pytest.mark.parametrize('has_them', [True, False])
def test_multimodal_models_are_left_out_where_transformers_has_not_what_they_need(monkeypatch, has_them):
    monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', True)
    for name in ('transformers', 'transformers.pytorch_utils'):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    if has_them:
        sys.modules['transformers.pytorch_utils'].find_pruneable_heads_and_indices = None
    adapted = {}
    multimodal.adapt(adapted)
    assert has_them == dependency.WITH_MULTIMODAL
    assert has_them == (adapted == {})


def test_mmcv_keeps_its_version():
    import mmcv

    assert mmcv.__version__ != '2.1.0' or 'mmrazor (version cap)' not in compat.ADAPTED


def test_torchvision_transforms_and_timm_work():
    import timm
    from torchvision import transforms

    assert transforms.ToTensor()(torch.zeros(3, 4, 5).numpy()).shape == (5, 3, 4)
    assert timm.create_model('resnet18', num_classes=2).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


@pytest.mark.skipif('mmrazor (quantisation)' not in compat.ADAPTED, reason='this torch has what MMRazor names')
@pytest.mark.parametrize('name', ['MMArchitectureQuant', 'OpenVINOQuantizer', 'LSQObserver'])
def test_quantisation_says_why_it_is_missing(name):
    with pytest.raises(ImportError, match=rf'{name} is missing: the quantisation part of MMRazor .* torch 1.13'):
        MODELS.build(dict(type=f'mmrazor.{name}'))


@pytest.mark.skipif('mmrazor (quantisation)' not in compat.ADAPTED, reason='this torch has what MMRazor names')
def test_an_unknown_name_of_the_quantisation_part_says_why_too():
    with pytest.raises(AttributeError, match='is missing: the quantisation part'):
        sys.modules['mmrazor.models.quantizers'].Nonsense  # noqa: B018


def test_every_distillation_part_of_mmrazor_is_there():
    for name in (
        'SingleTeacherDistill',
        'ConfigurableDistiller',
        'KLDivergence',
        'DKDLoss',
        'DISTLoss',
        'CRDConnector',
    ):
        assert MODELS.get(f'mmrazor.{name}') is not None


def test_runner_checkpoints_load_with_weights_only(tmp_path):
    """A checkpoint with everything the runner puts in: message hub histories, numpy values, meta."""
    import numpy as np

    history = HistoryBuffer()
    history.update(1.5)
    path = str(tmp_path / 'epoch_1.pth')
    model = torch.nn.Linear(2, 3)
    hub = dict(
        log_scalars=dict(loss=history, unused=HistoryBuffer()), runtime_info=dict(loop='train', lr=np.float64(0.1))
    )
    torch.save(dict(state_dict=model.state_dict(), message_hub=hub, meta=dict(epoch=1, seed=np.int64(3))), path)
    loaded = load_checkpoint(torch.nn.Linear(2, 3), path)
    assert torch.equal(loaded['state_dict']['weight'], model.weight)
    assert loaded['message_hub']['log_scalars']['loss'].current() == 1.5


def test_weights_of_a_timm_student_are_found_again():
    """MMPretrain's renaming works for the outermost module alone; MMEngine would only warn of the missing weights."""
    student = dict(type='TimmClassifier', model_name='resnet10t', num_classes=2)
    saved, loaded = (ModuleDict(dict(student=CLASSIFIERS.build(dict(student)))) for _ in range(2))
    for state in (saved.state_dict(), get_state_dict(saved)):
        assert 'student.conv1.0.weight' in state, 'the names that timm knows'
        loaded.load_state_dict(state)
        assert torch.equal(loaded['student'].model.fc.weight, saved['student'].model.fc.weight)


def test_a_timm_classifier_keeps_the_trained_weights_it_is_built_with(tmp_path):
    """The runner initialises every model before it trains it."""
    config = dict(type='TimmClassifier', model_name='test_vit', num_classes=2)
    trained = CLASSIFIERS.build(dict(config))
    path = tmp_path / 'weights.pth'
    torch.save(trained.model.state_dict(), path)
    model = CLASSIFIERS.build(dict(config, checkpoint_path=str(path)))
    model.init_weights()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in trained.state_dict().items())


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
    with pytest.raises(UnpicklingError, match=rf"'bad.pth' is refused: it wants '{wanted}'.*LOAD=1 in the environment"):
        CheckpointLoader.load_checkpoint('bad.pth')
    assert not Path('harmed').exists()


def test_a_refusal_is_no_fallback_and_leaves_torch_as_it_was(tmp_path, monkeypatch):
    path = str(tmp_path / 'bad.pth')
    torch.save(dict(extra=Wants(Path, ('somewhere',))), path)
    with pytest.raises(UnpicklingError):
        CheckpointLoader.load_checkpoint(path)
    assert torch.load(path, weights_only=False)['extra'] == Path('somewhere')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    assert CheckpointLoader.load_checkpoint(path)['extra'] == Path('somewhere'), 'whoever means it can'


def test_all_ways_to_weights_refuse(tmp_path, build):
    path = str(tmp_path / 'bad.pth')
    torch.save(dict(extra=Wants(Path, ('somewhere',))), path)
    teacher = networks.resnet_cifar()
    with pytest.raises(ValueError, match=r"model.teacher_ckpt='.*bad.pth' .*it wants 'pathlib.*Path'"):
        build_teacher(teacher, path)
    with pytest.raises(UnpicklingError, match='it wants'):
        build(dict(teacher, init_cfg=dict(type='Pretrained', checkpoint=path)))
    with pytest.raises(UnpicklingError, match='it wants'):
        load_checkpoint(torch.nn.Linear(1, 1), path)


def test_a_url_is_restricted_too(tmp_path, monkeypatch):
    """MMEngine and torch fetch it with weights_only=False."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    torch.save(dict(extra=Wants(Path, ('somewhere',))), tmp_path / 'checkpoints' / 'fetched.pth')
    with pytest.raises(UnpicklingError, match="'https://host/fetched.pth' is refused: it wants 'pathlib.*Path'"):
        CheckpointLoader.load_checkpoint('https://host/fetched.pth')


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
    assert CheckpointLoader.load_checkpoint(path).keys() == scheduler.state_dict().keys()


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(weight=torch.zeros(100)), path)
    os.truncate(path, 500)
    with pytest.raises(ValueError, match=r'epoch_1.pth. cannot be used: it is cut short'):
        CheckpointLoader.load_checkpoint(str(path))


def test_configs_of_mmsegmentation_are_found_by_the_forks_name(tmp_path, monkeypatch):
    """Both MMEngines look for a distribution ``mmsegmentation``; the maintained one is called onedl-mmsegmentation."""
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    from tas_mm.compat import configs

    folder = tmp_path / 'mmseg' / '.mim' / 'configs' / 'fcn'
    folder.mkdir(parents=True)
    (tmp_path / 'mmseg' / '__init__.py').touch()
    (folder / 'base.py').write_text('crop = 512\n')
    (folder.parents[1] / 'model-index.yml').write_text('Import: []\n')
    (tmp_path / 'mine.py').write_text("_base_ = 'mmseg::fcn/base.py'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
    adapted = {}
    configs.adapt(adapted)
    assert 'mmengine (mmseg)' in adapted
    assert Config.fromfile(tmp_path / 'mine.py').crop == 512
