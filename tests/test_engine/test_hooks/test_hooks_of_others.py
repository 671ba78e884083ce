"""Every hook of MMPretrain, MMEngine and MMRazor in a distillation: it works on the student, or an error names it."""

from itertools import count

import mmengine.hooks
import mmpretrain.engine.hooks
import mmrazor.engine.hooks
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models.losses import CrossEntropyLoss, LabelSmoothLoss
from torch import nn

from tas_mm.engine.hook_checks import UNSUITED
from tests import networks
from tests.test_engine.test_val_loop import Data

ON_THE_STUDENT = {
    'ClassNumCheckHook',
    'EMAHook',
    'PreciseBNHook',
    'SetAdaptiveMarginsHook',
    'StopDistillHook',
    'SwitchRecipeHook',
    'WarmupParamHook',
}
"""Hooks that read or change the model; tested here, in test_val_loop.py (EMA) and in test_tas.py (StopDistillHook)."""

ON_THE_RUN = {
    'CheckpointHook',
    'DistSamplerSeedHook',
    'EarlyStoppingHook',
    'EmptyCacheHook',
    'EstimateResourcesHook',
    'Hook',
    'IterTimerHook',
    'LoggerHook',
    'NPUProfilerHook',
    'NaiveVisualizationHook',
    'ParamSchedulerHook',
    'PrepareTTAHook',
    'ProfilerHook',
    'RazorVisualizationHook',
    'RuntimeInfoHook',
    'SimSiamHook',
    'SyncBuffersHook',
    'VisualizationHook',
}
"""Hooks that take the model as a whole, or leave it alone: optimizer, log, files, buffers, pictures."""


class Few(Data):
    """Eight random images, with a pipeline and classes."""

    CLASSES = tuple('abcde')
    metainfo = dict(classes=CLASSES)
    pipeline = None

    def __getitem__(self, i):
        item = super().__getitem__(i)
        return item if self.pipeline is None else self.pipeline(item)

    def get_gt_labels(self):
        return [i % 5 for i in range(8)]


class Look(Hook):
    """Keeps what it sees of the model before each epoch."""

    priority = 'LOWEST'

    def __init__(self, look):
        self.look, self.seen = look, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(self.look(runner))


NUMBER = count()


def train(model, tmp_path, *hooks, look=lambda runner: None, epochs=2, **more):
    """Train, and return what was seen before each step, with the runner."""
    loader = dict(dataset=Few(), batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    val = dict(
        val_dataloader=loader,
        val_cfg=dict(type='tas_mm.TASValLoop'),
        val_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
    )
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        custom_hooks=[*hooks, watch := Look(look)],
        default_hooks=dict(logger=None, checkpoint=None),
        default_scope='mmpretrain',
        experiment_name=f'hooks{next(NUMBER)}_{abs(hash(str(tmp_path)))}',
        log_level='ERROR',
        **{'optim_wrapper': dict(optimizer=dict(type='SGD', lr=0.01)), **val, **more},
    )
    runner.train()
    return watch.seen, runner


@pytest.fixture
def model(build_tas):
    return build_tas(networks.resnet(), networks.swin())


def test_each_hook_is_decided():
    decided = ON_THE_STUDENT | ON_THE_RUN | {kind.__name__ for kind in UNSUITED}
    for package in (mmengine.hooks, mmpretrain.engine.hooks, mmrazor.engine.hooks):
        assert set(package.__all__) <= decided


@pytest.mark.parametrize('kind', UNSUITED, ids=lambda kind: kind.__name__)
def test_a_hook_for_another_kind_of_model_is_named(kind, model, tmp_path):
    class Given(kind):
        def __init__(self):
            pass

    with pytest.raises(ValueError, match='custom_hooks: Given cannot work in a distillation, because it'):
        train(model, tmp_path, Given())


def test_switch_recipe_exchanges_the_students_loss_augmentation_and_pipeline(model, tmp_path):
    def black(item):
        return dict(item, inputs=torch.zeros_like(item['inputs']))

    new = dict(
        action_epoch=2,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
        batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8)]),
        train_pipeline=[black],
    )
    seen, runner = train(
        model,
        tmp_path,
        dict(type='SwitchRecipeHook', schedule=[new]),
        look=lambda runner: (
            type(runner.model.architecture.head.loss_module),
            runner.model.architecture.data_preprocessor.batch_augments is not None,
            bool(runner.train_dataloader.dataset[1]['inputs'].any()),
        ),
    )
    assert seen == [(CrossEntropyLoss, False, True)] * 2 + [(LabelSmoothLoss, True, False)] * 2
    assert not any(name.startswith(('head', 'loss_module')) for name, _ in model.named_modules())


def test_images_of_an_exchanged_pipeline_are_checked_too(model, tmp_path):
    def spoilt(item):
        return dict(item, inputs=item['inputs'] / 0)

    recipe = dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=2, train_pipeline=[spoilt])])
    with pytest.raises(ValueError, match='train_dataloader.dataset: image .* has values that are not finite'):
        train(model, tmp_path, recipe, dict(type='tas_mm.CheckDataHook'))


def test_switch_recipe_finds_the_loss_of_a_timm_student(build_tas, tmp_path):
    student = dict(type='TimmClassifier', model_name='resnet10t', num_classes=5, _scope_='mmpretrain')
    student.update(loss=dict(type='CrossEntropyLoss'))
    recipe = dict(
        type='SwitchRecipeHook',
        schedule=[dict(action_epoch=2, loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1))],
    )
    model = build_tas(student, networks.resnet(), distiller=dict(type='tas_mm.TASDistiller', input_size=64))
    train(model, tmp_path, recipe, val_dataloader=None, val_cfg=None, val_evaluator=None)
    assert isinstance(model.architecture.loss_module, LabelSmoothLoss)


def test_a_hooks_loss_is_the_one_that_trains(model, tmp_path, batch):
    """It is called, and not only registered somewhere."""
    before = model(*batch, mode='loss')['student.loss']
    model.head.loss_module = CrossEntropyLoss(loss_weight=3.0)
    torch.testing.assert_close(model(*batch, mode='loss')['student.loss'], 3 * before)


def test_adaptive_margins_reach_the_students_head(build_tas, tmp_path):
    student = networks.resnet()
    student['head'] = dict(type='ArcFaceClsHead', num_classes=5, in_channels=128)
    model = build_tas(student, networks.swin())
    before = model.architecture.head.margins
    seen, _ = train(model, tmp_path, dict(type='SetAdaptiveMarginsHook'), epochs=1, look=lambda r: r.model.head.margins)
    assert list(seen[0]) != list(before)


def test_warmup_finds_the_students_parameter_by_either_name(model, tmp_path):
    for name in ('head.loss_module', 'architecture.head.loss_module'):
        hook = dict(type='WarmupParamHook', param_name='loss_weight', module_name=name, warmup_epochs=2)
        seen, _ = train(model, tmp_path, hook, look=lambda runner: runner.model.student.head.loss_module.loss_weight)
        assert seen == [0.0, 0.25, 0.5, 0.75]
        model.head.loss_module.loss_weight = 1.0


def test_precise_bn_measures_the_students_norms(model, build, tmp_path):
    alone = build(networks.resnet())
    alone.load_state_dict(model.architecture.state_dict())
    for each in (model, alone):
        options = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)), val_dataloader=None)
        options.update(val_cfg=None, val_evaluator=None, epochs=1)
        train(each, tmp_path, dict(type='PreciseBNHook', num_samples=8), **options)
    for (name, ours), theirs in zip(model.architecture.named_buffers(), alone.buffers()):
        if 'running' in name:
            torch.testing.assert_close(ours, theirs, msg=name)


def test_the_number_of_classes_is_checked_on_the_student(build_tas, tmp_path):
    student = dict(networks.resnet(), data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', num_classes=5))
    model = build_tas(student, networks.swin())
    train(model, tmp_path, dict(type='ClassNumCheckHook'), epochs=1)
    model.architecture.head.num_classes = 4
    with pytest.raises(AssertionError, match=r'`num_classes` \(4\) in LinearClsHead'):
        train(model, tmp_path, dict(type='ClassNumCheckHook'), epochs=1)


def test_ema_validates_the_student_with_its_own_weights_too(model, tmp_path, monkeypatch):
    asked = []
    original = type(model).predict_roles
    monkeypatch.setattr(type(model), 'predict_roles', lambda self, **k: asked.append(k['roles']) or original(self, **k))
    hook = dict(type='EMAHook', momentum=0.1, evaluate_on_origin=True)
    _, runner = train(model, tmp_path, hook, epochs=1)
    scalars = runner.message_hub.log_scalars
    assert {'val/accuracy/top1', 'val/accuracy/top1_origin'} <= scalars.keys()
    assert not any('assistant' in key and 'origin' in key for key in scalars)
    assert asked == [['student', 'assistant', 'teacher']] * 2  # one validation of two batches


@pytest.mark.parametrize('part', ['head', 'backbone'])
def test_an_exchanged_network_is_an_error_and_not_a_loss_that_is_missing(part, model, build, tmp_path):
    class Exchange(Hook):
        def before_train_epoch(self, runner):
            setattr(runner.model, part, getattr(build(networks.resnet()), part))

    with pytest.raises(RuntimeError, match='which the distiller reads, did not run. It was skipped, or replaced'):
        train(model, tmp_path, Exchange())


def test_an_exchanged_preprocessor_is_an_error(model):
    with pytest.raises(ValueError, match='model.data_preprocessor was replaced after the model was built'):
        model.data_preprocessor = nn.Identity()
