"""The stack imports, nothing that works is touched, and what is missing says why."""

import sys

import pytest
import torch
from mmengine.model import ModuleDict
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import get_state_dict
from mmpretrain.registry import MODELS as CLASSIFIERS

from tas_mm import compat
from tas_mm.compat import classifiers, razor, vision


def test_nothing_is_adapted_where_the_original_works():
    """All are adapted by now: running the adapters again finds them working and leaves them alone."""
    adapted = {}
    register_fake = torch.library.register_fake
    vision.adapt(adapted)
    razor._import_past_version_cap(adapted)
    classifiers.adapt(adapted)
    assert adapted == {}
    assert torch.library.register_fake is register_fake


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
    from mmengine.logging import HistoryBuffer
    from mmengine.runner import load_checkpoint

    history = HistoryBuffer()
    history.update(1.5)
    path = str(tmp_path / 'epoch_1.pth')
    model = torch.nn.Linear(2, 3)
    hub = dict(log_scalars=dict(loss=history), runtime_info=dict(loop='train', lr=np.float64(0.1)))
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
