"""The algorithm: what trains, what is saved, who learns from whom, and that nothing runs twice."""

import copy
import gc
import weakref
from unittest.mock import Mock

import pytest
import timm
import torch
from mmengine.hub import get_config
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.runner import load_checkpoint, runner
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmpretrain.models.heads import LinearClsHead
from mmrazor.registry import MODELS as RAZOR_MODELS

from tas_mm.config import named_model
from tas_mm.models import TAS
from tas_mm.models.teachers import build_teacher, normalization_for
from tests import networks
from tests.networks import SIZE, samples

PAIRS = {
    'swin to resnet': (networks.resnet, networks.swin),
    'vit to mobilenet': (networks.mobilenet, networks.vit),
    'resnet to vit': (networks.vit, networks.resnet),
    'mobilenet to swin': (networks.swin, networks.mobilenet),
    'resnet to resnet': (networks.resnet_cifar, networks.resnet),
    'swin to vit': (networks.vit, networks.swin),
}


def pair(build_tas, name='swin to resnet', **kwargs):
    student, teacher = PAIRS[name]
    distiller = dict(type='tas_mm.TASDistiller', input_size=SIZE, **kwargs)
    return build_tas(student(), teacher(), distiller=distiller)


@pytest.mark.parametrize('name', PAIRS)
def test_every_kind_of_pair_trains_and_leaves_no_parameter_without_gradient(build_tas, batch, name):
    """A parameter without a gradient would need find_unused_parameters=True under DDP."""
    algorithm = pair(build_tas, name)
    losses = algorithm(*batch, mode='loss')
    paths = {f'distill.loss_{path}_{loss}' for path in ('ts', 'ta', 'as') for loss in ('nce', 'kd')}
    assert set(losses) == paths | {'student.loss'}
    total, _ = algorithm.parse_losses(losses)
    total.backward()
    assert [n for n, p in algorithm.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in algorithm.parameters())


@pytest.mark.parametrize(
    ('name', 'early', 'projector'),
    [
        ('swin to resnet', 'student', 'L2GProjector'),
        ('vit to mobilenet', 'student', 'L2GProjector'),
        ('resnet to vit', 'teacher', 'L2GProjector'),
        ('mobilenet to swin', 'teacher', 'L2GProjector'),
        ('resnet to resnet', 'student', 'ConvProjector'),
        ('swin to vit', 'student', 'LinearProjector'),
    ],
)
def test_direction_and_projector_follow_the_paper(build_tas, name, early, projector):
    assistant = pair(build_tas, name).distiller.assistant
    assert assistant.early_role == early
    assert type(assistant.projector).__name__ == projector


@pytest.mark.parametrize('name', PAIRS)
def test_every_kind_of_pair_trains_under_autocast(build_tas, batch, name):
    algorithm = pair(build_tas, name)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = algorithm(*batch, mode='loss')
    assert {value.dtype for value in losses.values()} == {torch.float32}
    algorithm.parse_losses(losses)[0].backward()
    assert all(torch.isfinite(p.grad).all() for p in algorithm.parameters())


@pytest.mark.parametrize('name', ['swin to resnet', 'resnet to vit'])
def test_teacher_is_bit_equal_before_and_after_training(build_tas, batch, name):
    """With DropPath 0.2 and BatchNorm in it: weights, statistics and outputs."""
    algorithm = pair(build_tas, name)
    optimizer = build_optim_wrapper(algorithm, dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1)))
    before, state = algorithm.teacher.logits(batch[0]), copy.deepcopy(algorithm.teacher.network.state_dict())
    for _ in range(3):
        algorithm.train()
        algorithm.train_step(dict(inputs=batch[0], data_samples=batch[1]), optimizer)
    assert torch.equal(algorithm.teacher.logits(batch[0]), before)
    assert all(torch.equal(state[key], value) for key, value in algorithm.teacher.network.state_dict().items())
    assert not any(module.training for module in algorithm.teacher.network.modules())


def test_teacher_is_in_no_optimizer_no_checkpoint_and_no_module_tree(build_tas):
    algorithm = pair(build_tas)
    teacher = {id(p) for p in algorithm.teacher.network.parameters()}
    optimizer = build_optim_wrapper(algorithm, dict(optimizer=dict(type='SGD', lr=0.1)))
    assert not teacher & {id(p) for group in optimizer.param_groups for p in group['params']}
    assert not teacher & {id(p) for p in algorithm.parameters()}
    assert {key.split('.')[0] for key in algorithm.state_dict()} == {'architecture', 'distiller'}
    size = sum(v.numel() for v in algorithm.architecture.state_dict().values())
    rest = sum(v.numel() for k, v in algorithm.state_dict().items() if k.startswith('distiller'))
    assert sum(v.numel() for v in algorithm.state_dict().values()) == size + rest


def test_teacher_goes_along_to_another_precision_and_copies_share_its_weights(build_tas, batch):
    algorithm = pair(build_tas)
    copied = copy.deepcopy(algorithm)
    assert copied.teacher is algorithm.teacher
    assert copied.student is not algorithm.student
    assert copied.distiller.assistant.late.model is copied.teacher.network
    assert copied.distiller.assistant.early.model is copied.student
    copied(*batch, mode='loss')['distill.loss_ta_nce'].backward()
    assert all(p.grad is None for p in algorithm.parameters())
    algorithm.double()
    assert {p.dtype for p in algorithm.teacher.network.parameters()} == {torch.float64}
    algorithm(batch[0].double(), batch[1], mode='loss')


def test_a_record_that_checkpointing_cuts_off_from_its_graph_is_an_error(build_tas, batch):
    """Around the whole backbone, as a user's activation_checkpointing=['architecture.backbone'] would."""
    algorithm = pair(build_tas)
    turn_on_activation_checkpointing(algorithm, ['architecture.backbone'])
    with pytest.raises(ValueError, match=r'model.architecture: the output of backbone.layer3 has no gradient'):
        algorithm(*batch, mode='loss')


def test_ema_averages_student_and_projector_alone(build_tas, batch):
    """By MMEngine's class, as its EMAHook does."""
    algorithm = pair(build_tas).eval()
    ema = ExponentialMovingAverage(algorithm, momentum=0.5)
    assert set(ema.state_dict()) == {f'module.{name}' for name in algorithm.state_dict()} | {'steps'}
    ema.update_parameters(algorithm)
    before = copy.deepcopy(algorithm.state_dict())
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(1)
    ema.update_parameters(algorithm)
    for name, parameter in ema.module.named_parameters():
        torch.testing.assert_close(parameter, before[name] + 0.5)
    predicted, averaged = (m.predict_roles(*batch, ['assistant', 'teacher']) for m in (algorithm, ema.module))
    assert torch.equal(predicted['teacher'][0].pred_score, averaged['teacher'][0].pred_score)
    assert not torch.equal(predicted['assistant'][0].pred_score, averaged['assistant'][0].pred_score)


def test_compiled_networks_compute_and_save_the_same(build_tas, batch):
    """Through dynamo, which must see the recorders; without a compiler behind it, which takes long."""
    plain, compiled = (
        build_tas(
            networks.resnet_cifar(),
            networks.resnet(),
            distiller=dict(type='tas_mm.TASDistiller', input_size=SIZE),
            compile=option,
        )
        for option in (False, dict(backend='eager'))
    )
    compiled.load_state_dict(plain.state_dict())
    compiled.teacher.network.load_state_dict(plain.teacher.network.state_dict())
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for factor in (1, 2):  # the second time from what the first has compiled
        losses = [model(factor * batch[0], batch[1], mode='loss') for model in (plain, compiled)]
        torch.testing.assert_close(losses[1], losses[0])
        for model, found in zip((plain, compiled), losses):
            model.parse_losses(found)[0].backward()
    gradients = [{name: p.grad for name, p in model.named_parameters()} for model in (plain, compiled)]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_teacher_computes_no_loss_and_builds_no_graph(build_tas, batch):
    algorithm = pair(build_tas)
    seen = []
    algorithm.teacher.network.head.loss_module.register_forward_hook(lambda *args: seen.append('loss'))
    algorithm.teacher.network.head.fc.register_forward_hook(lambda m, i, out: seen.append(out.requires_grad))
    algorithm(*batch, mode='loss')
    assert seen == [False, True]  # the teacher's own pass has no graph; the assistant's, through its head, has one


def test_the_tail_runs_exactly_once_a_step_and_nothing_else_twice(build_tas, batch):
    algorithm = pair(build_tas)
    counts = dict(projector=0, late=0, early=0, stem=0)

    def count(name):
        return lambda *args: counts.__setitem__(name, counts[name] + 1)

    algorithm.distiller.assistant.projector.register_forward_hook(count('projector'))
    algorithm.teacher.network.backbone.stages[3].register_forward_hook(count('late'))
    algorithm.student.backbone.layer3.register_forward_hook(count('early'))
    algorithm.teacher.network.backbone.patch_embed.register_forward_hook(count('stem'))
    algorithm(*batch, mode='loss')
    assert counts == dict(projector=1, late=2, early=1, stem=1)  # late: the teacher's own pass and the assistant's


@pytest.mark.parametrize('explicit', [False, True], ids=['short', "MMRazor's form"])
def test_nothing_holds_the_graph_after_the_step_even_when_it_fails(build_tas, batch, explicit):
    algorithm = pair(build_tas)
    if explicit:
        algorithm = pair(build_tas, **algorithm.distiller.razor_config())
    held = []

    def keep(module, args, output):
        held.append(weakref.ref(output))

    algorithm.student.backbone.layer3.register_forward_hook(keep)
    algorithm(*batch, mode='loss')
    algorithm.distiller.distill_losses.loss_as_kd.forward = lambda *args, **kwargs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        algorithm(*batch, mode='loss')
    gc.collect()
    assert len(held) == 2
    assert not any(reference() is not None for reference in held)


def gradients_of(algorithm, batch, path):
    """Names of parameters, the teacher's too, that one path alone gives a gradient."""
    losses = algorithm(*batch, mode='loss')
    sum(value for name, value in losses.items() if f'loss_{path}_' in name).backward()
    assert all(p.grad is None for p in algorithm.teacher.network.parameters())
    gradients = {name: p.grad for name, p in algorithm.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    return {name for name, gradient in gradients.items() if gradient.any()}


def test_teacher_to_assistant_alone_reaches_projector_and_early_stages_only(build_tas, batch):
    trained = gradients_of(pair(build_tas), batch, 'ta')
    projector = 'distiller.connectors.assistant.projector.'
    for expected in (projector, 'architecture.backbone.layer1', 'architecture.backbone.layer3'):
        assert any(name.startswith(expected) for name in trained)
    allowed = (projector, 'architecture.backbone.', 'distiller.distill_losses.loss_ta_nce')
    assert all(name.startswith(allowed) for name in trained)
    assert not any('layer4' in name for name in trained)


def test_with_the_teacher_early_teacher_to_assistant_trains_projector_and_the_students_last_stage(build_tas, batch):
    trained = gradients_of(pair(build_tas, 'resnet to vit'), batch, 'ta')
    assert any(name.startswith('architecture.backbone.layers.5') for name in trained)
    assert any(name.startswith('architecture.head') for name in trained)
    assert not any(name.startswith('architecture.backbone.layers.4') for name in trained)


@pytest.mark.parametrize('explicit', [False, True], ids=['short', "MMRazor's form"])
@pytest.mark.parametrize('loss', ['tas_mm.OFALoss', 'DKDLoss', 'L2Loss'])
def test_assistant_to_student_reaches_nothing_of_the_assistant(build_tas, batch, loss, explicit):
    """The assistant is detached even if the loss does not detach its target, as MMRazor's DKDLoss and L2Loss."""
    algorithm = pair(build_tas, logit_loss=dict(type=loss))
    if explicit:
        algorithm = pair(build_tas, **algorithm.distiller.razor_config())
    trained = gradients_of(algorithm, batch, 'as')
    assert not any('projector' in name for name in trained)
    # All that trains is the student, by its own logits, and the loss's own parameters.
    assert all(name.startswith(('architecture.', 'distiller.distill_losses.loss_as_')) for name in trained)
    assert 'architecture.head.fc.weight' in trained


def test_without_detaching_assistant_to_student_reaches_the_projector(build_tas, batch):
    kept = dict(detach_target=False)
    distiller = dict(type='tas_mm.TASDistiller', feature_loss=kept, logit_loss=kept)
    trained = gradients_of(build_tas(networks.resnet(), networks.swin(), distiller=distiller), batch, 'as')
    assert any('projector' in name for name in trained)


def test_each_network_sees_the_image_normalized_its_way(build_tas):
    """A pixel of 120 with the student's mean 100, std 50 is 0.4; with the teacher's mean 60, std 30 it is 2."""
    student = dict(networks.resnet(), data_preprocessor=dict(mean=[100.0] * 3, std=[50.0] * 3))
    teacher = dict(networks.swin(), data_preprocessor=dict(mean=[60.0] * 3, std=[30.0] * 3))
    algorithm = build_tas(student, teacher)
    seen = {}
    algorithm.student.backbone.conv1.register_forward_hook(lambda m, i, o: seen.update(student=i[0]))
    algorithm.teacher.network.backbone.patch_embed.projection.register_forward_hook(
        lambda m, i, o: seen.update(teacher=i[0])
    )
    data = dict(inputs=torch.full((2, 3, SIZE, SIZE), 120), data_samples=samples([0, 1]))
    algorithm(**algorithm.data_preprocessor(data, True), mode='loss')
    torch.testing.assert_close(seen['student'], torch.full((2, 3, SIZE, SIZE), 0.4))
    torch.testing.assert_close(seen['teacher'], torch.full((2, 3, SIZE, SIZE), 2.0))


@pytest.mark.parametrize('roles', [['teacher'], ['teacher', 'assistant']])
@pytest.mark.parametrize('name', ['swin to resnet', 'resnet to vit'])
def test_the_teacher_is_validated_on_images_normalized_its_way(build_tas, name, roles):
    student, teacher = (dict(network()) for network in PAIRS[name])
    student['data_preprocessor'] = dict(mean=[100.0] * 3, std=[50.0] * 3)
    teacher['data_preprocessor'] = dict(mean=[60.0] * 3, std=[30.0] * 3)
    algorithm = build_tas(student, teacher).eval()
    raw = dict(inputs=torch.randint(0, 256, (2, 3, SIZE, SIZE)), data_samples=samples([0, 1]))
    predicted = algorithm.predict_roles(**algorithm.data_preprocessor(raw), roles=['student', *roles])['teacher']
    wanted = algorithm.teacher.network((raw['inputs'] - 60.0) / 30.0, mode='tensor').softmax(1)
    torch.testing.assert_close(torch.stack([sample.pred_score for sample in predicted]), wanted, rtol=1e-4, atol=1e-6)


def test_images_stay_untouched_where_both_normalise_alike(build):
    model = build(dict(networks.resnet(), data_preprocessor=dict(mean=[1.0] * 3, std=[2.0] * 3)))
    assert normalization_for(model.data_preprocessor, copy.deepcopy(model)) == (False, None, None)


def test_a_timm_teacher_without_a_preprocessor_gets_what_its_tag_says(build_tas):
    """vit_tiny's tag says mean and std 0.5; the student normalizes as ImageNet does."""
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    student = dict(networks.resnet(), data_preprocessor=dict(mean=mean, std=std))
    teacher = dict(type='mmpretrain.TimmClassifier', model_name='vit_tiny_patch16_224', num_classes=5, img_size=SIZE)
    algorithm = build_tas(student, teacher)
    seen = {}
    algorithm.teacher.network.model.patch_embed.proj.register_forward_hook(lambda m, i, o: seen.update(x=i[0]))
    data = dict(inputs=torch.full((1, 3, SIZE, SIZE), 255), data_samples=samples([0]))
    algorithm.teacher.logits(algorithm.data_preprocessor(data)['inputs'])
    torch.testing.assert_close(seen['x'], torch.ones(1, 3, SIZE, SIZE))


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain', 'tas_mm'])
def test_networks_are_found_from_any_scope(scope):
    """A runner whose config names no default scope has MMEngine's."""
    from mmengine.registry import MODELS, DefaultScope

    teacher = dict(type='mmpretrain.TimmClassifier', model_name='resnet10t', num_classes=5)
    with DefaultScope.overwrite_default_scope(scope):
        MODELS.build(dict(type='tas_mm.TAS', architecture=networks.resnet(), teacher=teacher))


def test_a_student_that_does_not_normalise_leaves_it_to_the_teacher(build_tas):
    teacher = dict(networks.swin(), data_preprocessor=dict(mean=[60.0] * 3, std=[30.0] * 3))
    algorithm = build_tas(networks.resnet(), teacher)
    seen = {}
    algorithm.teacher.network.backbone.patch_embed.projection.register_forward_hook(lambda m, i, o: seen.update(x=i[0]))
    algorithm.teacher.logits(torch.full((1, 3, SIZE, SIZE), 120.0))
    torch.testing.assert_close(seen['x'], torch.full((1, 3, SIZE, SIZE), 2.0))


def test_a_timm_teacher_for_gray_images_gets_one_channel(build_tas):
    student = networks.resnet(in_channels=1)
    student['data_preprocessor'] = dict(mean=[0.0], std=[255.0])
    teacher = dict(type='mmpretrain.TimmClassifier', model_name='resnet10t', num_classes=5, in_chans=1)
    algorithm = build_tas(student, teacher, distiller=dict(type='tas_mm.TASDistiller', input_size=SIZE))
    losses = algorithm(torch.randn(4, 1, SIZE, SIZE), samples([0, 1, 2, 3]), mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())


def test_a_pipeline_that_may_normalise_by_itself_is_spoken_of(build_tas, logged):
    teacher = dict(networks.swin(), data_preprocessor=dict(mean=[60.0] * 3, std=[30.0] * 3))
    build_tas(networks.resnet(), teacher)
    assert 'data_preprocessor has no mean and std, so images are assumed to be pixels' in logged.text


# ---- networks of another kind ----------------------------------------------------------------------------------------


class ScaledHead(LinearClsHead):
    """Multiplies its scores after the linear layer, as heads of cosines do."""

    def forward(self, feats: tuple) -> torch.Tensor:
        return 16 * super().forward(feats)


class UncalledHead(LinearClsHead):
    """Reads the weights of its layer in place of calling it."""

    def forward(self, feats: tuple) -> torch.Tensor:
        return torch.nn.functional.linear(self.pre_logits(feats), self.fc.weight)


class KeywordHead(LinearClsHead):
    """Names the labels when it calls its loss."""

    def _get_loss(self, cls_score: torch.Tensor, data_samples: list, **kwargs) -> dict:
        return dict(loss=self.loss_module(cls_score, label=torch.cat([each.gt_label for each in data_samples])))


def with_head(network: dict, head: type | str) -> dict:
    return dict(network, head=dict(network['head'], type=head))


@pytest.mark.parametrize('head', [ScaledHead, 'ArcFaceClsHead'])
def test_what_is_distilled_of_any_head_is_what_the_network_says(build_tas, batch, head):
    for student, teacher in ((networks.resnet(), networks.swin()), (networks.swin(), networks.resnet())):
        algorithm = build_tas(student, with_head(teacher, head))
        observed = algorithm.teacher.observe(batch[0], algorithm.distiller.teacher_observer)
        assert torch.equal(observed.logits, algorithm.teacher.logits(batch[0]))
        algorithm = build_tas(with_head(student, head), teacher).eval()
        with torch.no_grad():
            observed, said = algorithm.distiller.student_observer(algorithm.student, batch[0])
        assert torch.equal(observed.logits, said)
        assert all(torch.isfinite(value) for value in algorithm.train()(*batch, mode='loss').values())


def test_heads_that_cannot_be_read_are_refused(build_tas, batch):
    with pytest.raises(ValueError, match=r'model.teacher.head: UncalledHead never calls head.fc'):
        build_tas(networks.resnet(), with_head(networks.swin(), UncalledHead))
    many = with_head(networks.resnet(), 'MultiLabelLinearClsHead')
    with pytest.raises(ValueError, match=r'model.architecture.head is a MultiLabelLinearClsHead, which scores every'):
        build_tas(many, networks.swin())


def test_labels_come_from_the_samples_however_a_head_calls_its_loss(build_tas, batch):
    losses = build_tas(with_head(networks.resnet(), KeywordHead), networks.swin())(*batch, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())


NAMED = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'


def test_what_stands_beside_a_named_config_has_the_last_word(build_tas):
    """MMEngine takes it for defaults, which lose to what the config says."""
    head = dict(num_classes=5)
    named = dict(cfg_path=NAMED, head=head, data_preprocessor=dict(mean=[1.0] * 3, num_classes=5))
    small = dict(type='tas_mm.TASDistiller', input_size=32)
    algorithm = build_tas(named, dict(cfg_path=NAMED, head=head), distiller=small)
    assert algorithm.student.head.fc.out_features == algorithm.teacher.network.head.fc.out_features == 5
    assert algorithm.data_preprocessor.mean.flatten().tolist() == [1.0] * 3
    assert algorithm.data_preprocessor.std.flatten().tolist() == pytest.approx([51.5865, 50.847, 51.255])
    augments = dict(augments=dict(type='Mixup', alpha=0.8))
    outer = dict(type='ClsDataPreprocessor', mean=[2.0] * 3, std=[3.0] * 3, batch_augments=augments)
    distiller = dict(type='tas_mm.PairDistiller', input_size=32, terms=dict(kd=dict(type='mmrazor.KLDivergence')))
    algorithm = TAS(dict(cfg_path=NAMED), dict(cfg_path=NAMED), distiller, data_preprocessor=outer)
    assert algorithm.data_preprocessor.mean.flatten().tolist() == [2.0] * 3
    assert algorithm.data_preprocessor.batch_augments is not None


def test_a_named_student_is_trained_from_its_published_weights(monkeypatch, tmp_path):
    published = RAZOR_MODELS.build(named_model(dict(cfg_path=NAMED)))
    torch.save(dict(state_dict=published.state_dict()), tmp_path / 'published.pth')
    given = get_config(NAMED)
    given.model_path = str(tmp_path / 'published.pth')
    monkeypatch.setattr('mmengine.hub.get_config', lambda *args: given)
    distiller = dict(type='tas_mm.PairDistiller', input_size=32, terms=dict(kd=dict(type='mmrazor.KLDivergence')))
    named = dict(cfg_path=NAMED, pretrained=True)
    algorithm = TAS(named, named, distiller)
    algorithm.init_weights()
    for network in (algorithm.student, algorithm.teacher.network):
        assert torch.equal(network.backbone.conv1.weight, published.backbone.conv1.weight)


def test_weights_of_the_student_alone_are_loaded_and_others_refused(build, build_tas, tmp_path):
    """The weights that ``load_from`` of a plain config names."""
    alone = build(networks.resnet())
    algorithm = build_tas(networks.resnet(), networks.swin())
    projector = algorithm.distiller.assistant.projector.embed.weight.clone()
    torch.save(dict(state_dict=alone.state_dict()), tmp_path / 'student.pth')
    load_checkpoint(algorithm, str(tmp_path / 'student.pth'))
    assert all(torch.equal(value, alone.state_dict()[key]) for key, value in algorithm.student.state_dict().items())
    assert torch.equal(algorithm.distiller.assistant.projector.embed.weight, projector)
    torch.save(dict(state_dict=build(networks.vit()).state_dict()), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r"load_from or init_cfg of model: none of its \d+ entries, such as 'backbone"):
        load_checkpoint(algorithm, str(tmp_path / 'other.pth'))


def test_layer_wise_decay_gives_the_student_the_rates_that_it_has_alone(build, build_tas):
    optim = dict(
        type='OptimWrapper',
        constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )

    def rates(model) -> dict:
        groups = build_optim_wrapper(model, optim).optimizer.param_groups
        return {group['param_name'].removeprefix('architecture.'): group['lr'] for group in groups}

    alone = rates(build(networks.vit()))
    distilled = rates(build_tas(networks.vit(), networks.resnet()))
    assert len(set(alone.values())) > 3
    assert alone == {name: rate for name, rate in distilled.items() if not name.startswith('distiller.')}
    assert {rate for name, rate in distilled.items() if name.startswith('distiller.')} == {1.0}


def test_a_stopped_distillation_trains_the_student_alone_and_leaves_no_parameter_without_gradient(build_tas, batch):
    """MMRazor's StopDistillHook sets the flag."""
    algorithm = pair(build_tas)
    runs = []
    algorithm.teacher.network.register_forward_hook(lambda *args: runs.append(1))
    algorithm.distillation_stopped = True
    losses = algorithm(*batch, mode='loss')
    assert set(losses) == {'student.loss', 'distill.loss_stopped'}
    assert losses['distill.loss_stopped'].item() == 0
    assert not runs
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)


def test_pure_bfloat16_works(build_tas, batch):
    algorithm = pair(build_tas, 'resnet to vit').bfloat16()  # MMPretrain's Swin cannot
    losses = algorithm(batch[0].bfloat16(), batch[1], mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())


@pytest.mark.parametrize('name', ['swin to resnet', 'resnet to vit', 'vit to mobilenet'])
def test_a_teacher_in_bfloat16_teaches_much_the_same(build_tas, batch, name):
    """As early part and as late; the student's side and the losses stay in float32."""
    student, teacher = PAIRS[name]
    exact = build_tas(student(), teacher())
    narrow = build_tas(student(), teacher(), teacher_dtype='bfloat16')
    narrow.load_state_dict(exact.state_dict())
    narrow.teacher.network.load_state_dict(exact.teacher.network.state_dict())
    assert {p.dtype for p in narrow.teacher.network.parameters() if p.dim() > 1} == {torch.bfloat16}
    assert {p.dtype for p in narrow.parameters()} == {torch.float32}
    logits = exact.teacher.logits(batch[0])
    assert (narrow.teacher.logits(batch[0]) - logits).abs().max() < 2e-2 * logits.abs().max()
    losses = narrow(*batch, mode='loss')
    narrow.parse_losses(losses)[0].backward()
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert all(torch.isfinite(p.grad).all() for p in narrow.parameters())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_a_teacher_in_bfloat16_goes_with_any_mixed_precision_of_the_students(build_tas, batch, dtype):
    """A late part with class tokens, which join what the early part gives."""
    algorithm = build_tas(networks.resnet(), networks.vit(), teacher_dtype='bfloat16')
    with torch.autocast('cpu', dtype):
        losses = algorithm(*batch, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())


def test_a_type_that_a_teacher_cannot_be_kept_in(build_tas):
    with pytest.raises(ValueError, match=r"model.teacher_dtype='float16'. Expected one of None, 'bfloat16'"):
        build_tas(networks.resnet(), networks.swin(), teacher_dtype='float16')


@pytest.mark.parametrize('student', ['mmpretrain', 'timm'])
def test_only_student_and_projector_are_converted_to_sync_bn(build_tas, batch, student):
    """By MMEngine's own function, as sync_bn='torch' in a config does; recorders and activations come along."""
    timm_net = dict(type='TimmClassifier', _scope_='mmpretrain', model_name='efficientnet_lite0', num_classes=5)
    student = networks.resnet() if student == 'mmpretrain' else timm_net
    assistant = dict(projector=dict(type='tas_mm.ConvProjector'))
    distiller = dict(type='tas_mm.TASDistiller', input_size=SIZE, assistant=assistant)
    algorithm = build_tas(student, networks.resnet(), distiller=distiller).eval()
    count = lambda module, kind: sum(isinstance(m, kind) for m in module.modules())  # noqa: E731
    norms, before = count(algorithm, torch.nn.BatchNorm2d), algorithm(*batch, mode='loss')
    converted = runner.convert_sync_batchnorm(algorithm).eval()
    assert count(converted, torch.nn.SyncBatchNorm) == norms > count(converted.student, torch.nn.SyncBatchNorm)
    assert count(converted.teacher.network, torch.nn.SyncBatchNorm) == 0
    torch.testing.assert_close(converted(*batch, mode='loss'), before)


@pytest.mark.parametrize(
    'student',
    [
        networks.resnet(),
        dict(
            type='TimmClassifier',
            _scope_='mmpretrain',
            model_name='resnet10t',
            num_classes=5,
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
        ),
    ],
    ids=['mmpretrain', 'timm'],
)
def test_batch_augmentations_of_the_students_config_come_along(build_tas, student):
    """Mixup in the student's train_cfg, the preprocessor at the top of the config, as MMPretrain writes it."""
    student = dict(student, train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)))
    algorithm = build_tas(
        student, networks.swin(), data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3, num_classes=5)
    )
    data = algorithm.data_preprocessor(
        dict(inputs=torch.rand(4, 3, SIZE, SIZE), data_samples=samples([0, 1, 2, 3])), True
    )
    assert 'gt_score' in data['data_samples'][0]
    losses = algorithm(**data, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())


def test_one_batch_is_predicted_by_all_networks_each_running_once(build_tas, batch):
    algorithm = pair(build_tas).eval()
    predictions = algorithm.predict_roles(*batch, roles=['student', 'assistant', 'teacher'])
    assert {role: len(samples) for role, samples in predictions.items()} == dict(student=4, assistant=4, teacher=4)
    plain = algorithm(*batch, mode='predict')
    assert all(torch.equal(a.pred_score, b.pred_score) for a, b in zip(predictions['student'], plain))
    scores = torch.stack([sample.pred_score for sample in predictions['teacher']])
    torch.testing.assert_close(scores, algorithm.teacher.logits(batch[0]).softmax(1))
    assert predictions['assistant'][2].gt_label.item() == 2


def test_a_plain_mmrazor_distiller_works_in_it(build_tas, batch):
    distiller = dict(
        type='ConfigurableDistiller',
        student_recorders=dict(fc=dict(type='ModuleOutputs', source='head.fc')),
        teacher_recorders=dict(fc=dict(type='ModuleOutputs', source='head.fc')),
        distill_losses=dict(loss_kl=dict(type='KLDivergence')),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='fc'), preds_T=dict(from_student=False, recorder='fc')
            )
        ),
    )
    losses = build_tas(networks.resnet(), networks.swin(), distiller=distiller)(*batch, mode='loss')
    assert set(losses) == {'student.loss', 'distill.loss_kl'}


# ---- teachers and their weights --------------------------------------------------------------------------------------


def test_a_teacher_without_weights_is_announced_loudly(build_tas, logged):
    build_tas(networks.resnet(), networks.swin())
    assert 'THE TEACHER HAS NO TRAINED WEIGHTS' in logged.text


def test_weights_are_loaded_and_a_missing_file_is_an_error(build, build_tas, tmp_path, logged):
    teacher = build(networks.swin())
    path = str(tmp_path / 'teacher.pth')
    torch.save(dict(state_dict=teacher.state_dict()), path)
    algorithm = build_tas(networks.resnet(), networks.swin(), teacher_ckpt=path)
    assert all(torch.equal(teacher.state_dict()[k], v) for k, v in algorithm.teacher.network.state_dict().items())
    assert 'NO TRAINED WEIGHTS' not in logged.text
    with pytest.raises(FileNotFoundError, match=r"model.teacher_ckpt='.*nowhere.pth' does not exist"):
        build_tas(networks.resnet(), networks.swin(), teacher_ckpt=str(tmp_path / 'nowhere.pth'))


def test_with_weights_of_its_own_a_teacher_fetches_no_others(build, tmp_path, monkeypatch):
    """CIFAR-100's ViT-S: timm's ImageNet weights before its fine-tuning, a checkpoint after it."""
    config = dict(type='TimmClassifier', _scope_='mmpretrain', model_name='resnet10t', num_classes=2)
    path = str(tmp_path / 'teacher.pth')
    trained = build(config)
    torch.save(trained.state_dict(), path)
    create = Mock(wraps=timm.models.create_model)
    monkeypatch.setattr('timm.models.create_model', create)
    teacher = build_teacher(dict(config, pretrained=True), path)
    assert not create.call_args.kwargs.get('pretrained')
    assert torch.equal(teacher.model.fc.weight, trained.model.fc.weight)


def test_weights_that_do_not_fit_are_an_error(build, build_tas, tmp_path):
    path = str(tmp_path / 'wrong.pth')
    torch.save(build(networks.resnet()).state_dict(), path)
    with pytest.raises(
        ValueError, match=r'model.teacher_ckpt=.*does not fit model.teacher.*parameters and statistics are not in'
    ):
        build_tas(networks.resnet(), networks.swin(), teacher_ckpt=path)
    other = networks.swin()
    other['head']['num_classes'] = 7
    torch.save(build(other).state_dict(), path)
    with pytest.raises(ValueError, match=r'(?s)does not fit model.teacher.*head.fc.weight.*class counts'):
        build_tas(networks.resnet(), networks.swin(), teacher_ckpt=path)


def test_statistics_that_are_missing_are_an_error_and_other_buffers_are_not(build, build_tas, tmp_path):
    """Without its running statistics a frozen network in eval mode would give nonsense in silence."""
    path = str(tmp_path / 'teacher.pth')
    state = build(networks.resnet()).state_dict()
    torch.save({k: v for k, v in state.items() if 'running' not in k}, path)
    with pytest.raises(ValueError, match=r'parameters and statistics are not in the file, such as .*running_mean'):
        build_tas(networks.vit(), networks.resnet(), teacher_ckpt=path)
    torch.save({k: v for k, v in state.items() if 'num_batches_tracked' not in k}, path)
    build_tas(networks.vit(), networks.resnet(), teacher_ckpt=path)


@pytest.mark.parametrize('form', ['module', 'timm', 'student of a distillation'])
def test_weights_load_in_every_form_that_teachers_come_in(build, build_tas, tmp_path, form):
    path, teacher = str(tmp_path / 'teacher.pth'), build(networks.swin())
    prefix = {'module': 'module.', 'timm': '', 'student of a distillation': 'architecture.'}[form]
    state = {prefix + key: value for key, value in teacher.state_dict().items()}
    if form == 'student of a distillation':
        state['distiller.connectors.assistant.projector.norm.bias'] = torch.zeros(3)
    torch.save({'model' if form == 'timm' else 'state_dict': state}, path)
    algorithm = build_tas(networks.resnet(), networks.swin(), teacher_ckpt=path)
    assert all(torch.equal(teacher.state_dict()[k], v) for k, v in algorithm.teacher.network.state_dict().items())


def test_a_file_that_is_no_checkpoint_and_a_teacher_that_is_none(build_tas, tmp_path):
    path = tmp_path / 'broken.pth'
    path.write_bytes(b'no checkpoint at all')
    with pytest.raises(ValueError, match='model.teacher_ckpt=.*cannot be read as a checkpoint'):
        build_tas(networks.resnet(), networks.swin(), teacher_ckpt=str(path))
    with pytest.raises(TypeError, match='model.teacher=None. Expected'):
        build_tas(networks.resnet(), None)


def test_a_teacher_may_be_named_by_the_path_of_its_config(build_tas):
    student = networks.resnet_cifar()
    student['head']['num_classes'] = 10
    algorithm = build_tas(student, 'tas_mm::quickstart/teacher.py')
    assert type(algorithm.teacher.network.backbone).__name__ == 'VisionTransformer'
    assert algorithm.teacher.network.data_preprocessor.mean.flatten().tolist() == [78.0] * 3


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_wrong_class_count(build_tas):
    teacher = networks.swin()
    teacher['head']['num_classes'] = 1000
    with pytest.raises(
        ValueError, match=r'model.teacher has num_classes=1000 and model.architecture has num_classes=5'
    ):
        build_tas(networks.resnet(), teacher)


def test_teacher_sees_the_size_that_it_was_built_for(build_tas, batch):
    teacher = networks.swin()
    teacher['backbone']['img_size'] = 224
    algorithm = build_tas(networks.vit(), teacher)
    assert algorithm.distiller.student_view.input_size == (64, 64)
    assert algorithm.teacher.size == (224, 224)
    assert len(algorithm(*batch, mode='loss')) == 7


def test_batch_of_another_size_than_built_for(build_tas):
    algorithm = pair(build_tas)
    with pytest.raises(ValueError, match=r'images of \(96, 96\).*built for \(64, 64\).*model.distiller.input_size'):
        algorithm(torch.randn(2, 3, 96, 96), samples([0, 1]), mode='loss')


def test_labels_out_of_range(build_tas, batch):
    algorithm = pair(build_tas)
    with pytest.raises(ValueError, match=r'labels from 0 to 7.*num_classes=5 allows 0 to 4'):
        algorithm(batch[0], samples([0, 1, 2, 7]), mode='loss')


# ---- MMRazor's options -----------------------------------------------------------------------------------------------


def test_mmrazors_options_are_accepted_at_their_defaults_and_refused_with_the_reason(build_tas, batch):
    defaults = dict(
        teacher_trainable=False, teacher_norm_eval=True, student_trainable=True, teacher_module_inplace=False
    )
    build_tas(networks.resnet(), networks.swin(), **defaults, calculate_student_loss=True)
    with pytest.raises(ValueError, match=r'model.teacher_trainable=True. Expected False: TAS keeps the teacher frozen'):
        build_tas(networks.resnet(), networks.swin(), teacher_trainable=True)
    losses = build_tas(networks.resnet(), networks.swin(), calculate_student_loss=False)(*batch, mode='loss')
    assert not any(name.startswith('student') for name in losses)


def test_a_recorder_before_an_in_place_module_reads_what_its_module_gave(build_tas, batch):
    """Values that ReLU would overwrite are kept only if the config has recorders, as in MMRazor."""
    record = dict(recorder='bn', from_student=True)
    distiller = dict(
        type='tas_mm.PairDistiller',
        student_recorders=dict(bn=dict(type='ModuleOutputs', source='backbone.bn1')),
        distill_losses=dict(loss_x=dict(type='L2Loss')),
        loss_forward_mappings=dict(loss_x=dict(s_feature=record, t_feature=record)),
    )
    algorithm = build_tas(networks.resnet(), networks.swin(), distiller=distiller)
    given = []
    algorithm.student.backbone.bn1.register_forward_hook(lambda module, args, output: given.append(output.clone()))
    seen, _ = algorithm.distiller.student_observer(algorithm.student, *batch, mode='loss')
    assert torch.equal(seen.records['bn'][0], given[0])
    assert given[0].min() < 0
    plain = build_tas(networks.resnet(), networks.swin())
    assert plain.student.backbone.relu.inplace, 'memory is only spent where a recorder needs it'
