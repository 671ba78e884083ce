"""The stack imports, nothing that works is touched, and what is missing says why."""

import inspect
import io
import sys
from pickle import UnpicklingError
from types import ModuleType

import mmrazor.models.losses
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import ModuleDict
from mmengine.registry import MODELS
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import get_state_dict, load_checkpoint
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmpretrain.utils import dependency

from tas_mm import compat
from tas_mm.compat import checkpoints, classifiers, configs, labels, multimodal, razor, razor_losses, sync_bn, vision


def test_nothing_is_adapted_where_the_original_works():
    """All are adapted by now: running the adapters again finds them working and leaves them alone."""
    adapted = {}
    register_fake = torch.library.register_fake
    vision.adapt(adapted)
    multimodal.adapt(adapted)
    razor._import_past_version_cap(adapted)
    classifiers.adapt(adapted)
    checkpoints.adapt(adapted)
    configs.adapt(adapted)
    labels.adapt(adapted)
    razor._adapt_inplace_switch(adapted)
    razor_losses.adapt(adapted)
    sync_bn.adapt(adapted)
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


@pytest.mark.skipif('mmrazor (quantization)' not in compat.ADAPTED, reason='this torch has what MMRazor names')
@pytest.mark.parametrize('name', ['MMArchitectureQuant', 'OpenVINOQuantizer', 'LSQObserver'])
def test_quantization_says_why_it_is_missing(name):
    with pytest.raises(ImportError, match=rf'{name} is missing: the quantization part of MMRazor .* torch 1.13'):
        MODELS.build(dict(type=f'mmrazor.{name}'))


@pytest.mark.skipif('mmrazor (quantization)' not in compat.ADAPTED, reason='this torch has what MMRazor names')
def test_an_unknown_name_of_the_quantization_part_says_why_too():
    with pytest.raises(AttributeError, match='is missing: the quantization part'):
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


LOGITS = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3])


def test_the_soft_cross_entropy_of_mmrazor_is_torchs():
    """Beside MMPretrain; under its former name there was a placeholder, which failed in the first step."""
    loss = MODELS.build(dict(type='mmrazor.KDSoftCELoss', tau=2.0, loss_weight=3.0))
    wanted = 3 * 4 * torch.nn.functional.cross_entropy(LOGITS[0] / 2, (LOGITS[1] / 2).softmax(1))
    torch.testing.assert_close(loss(*LOGITS), wanted)


def test_dkd_is_reduced_as_its_option_says():
    """Torch's deprecated size_average would silently turn the mean into a sum."""
    build = lambda reduction: MODELS.build(dict(type='mmrazor.DKDLoss', tau=2.0, beta=8.0, reduction=reduction))  # noqa: E731
    per_image = build('none')(*LOGITS, LABELS)
    assert per_image.shape == (4,)
    alone = [build('sum')(*(logits[i : i + 1] for logits in LOGITS), LABELS[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(per_image, torch.stack(alone))
    torch.testing.assert_close(build('sum')(*LOGITS, LABELS), per_image.sum())
    torch.testing.assert_close(build('batchmean')(*LOGITS, LABELS), per_image.mean())
    assert build('mean')(*LOGITS, LABELS) < per_image.mean(), 'of all entries'


OPTIONS = dict(
    CRDLoss=None,  # its weight has no effect with any torch, and MMRazor's results are without it; see docs
    FBKDLoss=None,  # of six inputs each
    MGDLoss=None,  # has another name for its weight
    WSLD=dict(num_classes=6),
)


@pytest.mark.parametrize('name', [name for name in mmrazor.models.losses.__all__ if OPTIONS.get(name, {}) is not None])
def test_the_weight_of_every_loss_of_mmrazor_counts(name):
    one, three = (
        MODELS.build(dict(type=f'mmrazor.{name}', loss_weight=weight, **OPTIONS.get(name, {}))) for weight in (1.0, 3.0)
    )
    wanted = list(inspect.signature(one.forward).parameters)
    maps = name in ('ChannelWiseDivergence', 'PKDLoss', 'ATLoss')
    inputs = [x.view(4, 1, 2, 3) if maps else x for x in LOGITS]
    inputs = inputs[: len(wanted)] + [LABELS] * ('gt_labels' in wanted)
    value = one(*inputs)
    assert value != 0
    torch.testing.assert_close(three(*inputs), 3 * value)


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


def test_importing_it_leaves_the_checkpoint_loader_alone():
    """Which files are trusted is a policy, and switched on elsewhere."""
    assert mmengine_checkpoint.CheckpointLoader.load_checkpoint.__func__.__module__ == 'mmengine.runner.checkpoint'


def test_a_torch_that_refuses_mmengines_checkpoints_is_told_its_classes(monkeypatch):
    """As with upstream MMEngine, which leaves the decision to torch."""
    monkeypatch.delattr(mmengine_checkpoint, '_safe_torch_load', raising=False)
    file = io.BytesIO()
    torch.save(HistoryBuffer(), file)
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        file.seek(0)
        with pytest.raises(UnpicklingError):
            torch.load(file)
        adapted = {}
        checkpoints.adapt(adapted)
        assert list(adapted) == ['mmengine (checkpoints)']
        file.seek(0)
        assert isinstance(torch.load(file), HistoryBuffer)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def test_classifiers_that_keep_their_weights_by_themselves_are_left_alone():
    class Plain:
        def __init__(self):
            pass

    class Marking(Plain):
        def __init__(self):
            self._is_init = True

    class Overriding(Plain):
        def init_weights(self):
            pass

    assert [classifiers._marks_itself(each) for each in (Plain, Marking, Overriding)] == [False, True, True]


def test_weights_of_a_timm_student_are_found_again():
    """MMPretrain's renaming works for the outermost module alone; MMEngine would only warn of the missing weights."""
    student = dict(type='TimmClassifier', model_name='resnet10t', num_classes=2)
    saved, loaded = (ModuleDict(dict(student=CLASSIFIERS.build(dict(student)))) for _ in range(2))
    for state in (saved.state_dict(), get_state_dict(saved)):
        assert 'student.conv1.0.weight' in state, 'the names that timm knows'
        loaded.load_state_dict(state)
        assert torch.equal(loaded['student'].model.fc.weight, saved['student'].model.fc.weight)


def test_a_timm_classifier_keeps_the_trained_weights_it_is_built_with(tmp_path):
    """The runner initializes every model before it trains it."""
    config = dict(type='TimmClassifier', model_name='test_vit', num_classes=2)
    trained = CLASSIFIERS.build(dict(config))
    path = tmp_path / 'weights.pth'
    torch.save(trained.model.state_dict(), path)
    model = CLASSIFIERS.build(dict(config, checkpoint_path=str(path)))
    model.init_weights()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in trained.state_dict().items())


def test_configs_of_mmsegmentation_are_found_by_the_forks_name(tmp_path, monkeypatch):
    """Both MMEngines look for a distribution ``mmsegmentation``; the maintained one is called onedl-mmsegmentation."""
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    folder = tmp_path / 'mmseg' / '.mim' / 'configs' / 'fcn'
    folder.mkdir(parents=True)
    (tmp_path / 'mmseg' / '__init__.py').touch()
    (folder / 'base.py').write_text('crop = 512\n')
    (folder.parents[1] / 'model-index.yml').write_text('Import: []\n')
    (tmp_path / 'mine.py').write_text("_base_ = 'mmseg::fcn/base.py'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mmseg', raising=False)  # the installed one, which another test may have imported
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
    adapted = {}
    configs.adapt(adapted)
    assert 'mmengine (mmseg)' in adapted
    assert Config.fromfile(tmp_path / 'mine.py').crop == 512
