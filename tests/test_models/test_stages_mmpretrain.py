"""Every MMPretrain backbone: what runs after the cut is what the network does, and it serves in every role."""

from itertools import product

import mmpretrain.models.backbones as backbones
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from tas_mm.models.algorithms import TAS
from tas_mm.models.stages import FAMILIES, Observer, view_of
from tests.specimens import NUM_CLASSES, SPECIMENS, TEACHERS_ONLY, Specimen, classifier

REFUSED = dict(LeNet5='three convolutions', SparseResNet='pre-training', SparseConvNeXt='pre-training')
ELSEWHERE = ('CSPNet', 'TIMMBackbone')  # an abstract base; tested with timm
UNUSED = dict(DeiT3='.ln2.')  # DeiT3's layers have a norm that MMPretrain never calls
ROLES = [(name, role) for name in SPECIMENS for role in ('student', 'teacher')[name in TEACHERS_ONLY :]]
CELLS = [
    (name, *cell)
    for name, role in ROLES
    for cell in product((role,), ('early', 'late'), ('ResNet', 'VisionTransformer'))
]
COVERING = {('student', 'early', 'VisionTransformer'), ('teacher', 'late', 'ResNet')}
"""Roles that `make test` tries of every network; `make test-all` tries the whole product."""
EXACT = dict(rtol=1e-5, atol=1e-6)


def built(config):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(config)


def observe(view):
    """Return what an observer records for two images, and the network's own output."""
    view.model.eval()
    observer = Observer(view, stages=(1, 2, 3, 4))
    with torch.no_grad():
        return observer(view.run, torch.randn(2, 3, *view.input_size))


def algorithm(student, teacher, size, **assistant):
    distiller = dict(type='tas_mm.TASDistiller', input_size=size, assistant=assistant)
    model = TAS(architecture=student, teacher=teacher, distiller=distiller)
    model.train()
    return model


def losses_of(model, size):
    """Losses of a batch of two."""
    return model.loss(torch.randn(2, 3, size, size), [DataSample().set_gt_label(label) for label in (1, 2)])


def test_every_backbone_has_a_specimen_or_a_reason():
    known = {specimen.backbone['type'] for specimen in SPECIMENS.values()}
    assert known.union(REFUSED, ELSEWHERE) == set(backbones.__all__)
    assert not known.intersection(REFUSED)


@pytest.mark.parametrize('name', SPECIMENS)
def test_tail_equals_the_whole_network(name):
    view = view_of(classifier(name), (SPECIMENS[name].size,) * 2)
    seen, output = observe(view)
    feature, logits = seen.feature, seen.logits
    if view.logits_source == 'head':
        torch.testing.assert_close(logits, view.logits_of(output), rtol=0, atol=0)
    assert view.family in FAMILIES
    assert feature.shape == (2, view.feature_dim)
    assert logits.shape == (2, view.num_classes) == (2, NUM_CLASSES)
    assert logits.std() > 1e-3
    for start in (2, 3, 4, 5):
        assert view.check_tail(start) < 1e-5
    with torch.no_grad():
        tail = view.tail(seen.stages[4], 5)
    torch.testing.assert_close(tail.feature, feature, **EXACT)
    torch.testing.assert_close(tail.logits, logits, **EXACT)


@pytest.mark.parametrize('name', SPECIMENS)
def test_maps_have_the_measured_shape_and_survive_the_way_back(name):
    view = view_of(classifier(name), (SPECIMENS[name].size,) * 2)
    seen, _ = observe(view)
    for i, stage in enumerate(view.stages, 1):
        x = seen.map(i)
        assert x.shape == (2, stage.channels, *stage.grid)
        torch.testing.assert_close(view.to_map(view.from_map(x, i), i), x, **EXACT)


SLOW = ('PyramidVig', 'Vig')  # five seconds each


@pytest.mark.every_case
@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.long] if name in SLOW else []) for name in SPECIMENS]
)
def test_every_network_serves_early_and_late(name):
    for cell in CELLS:
        if cell[0] == name and cell[1:] in COVERING:
            check_role(*cell)


@pytest.mark.all_pairs
@pytest.mark.parametrize(('name', 'role', 'part', 'partner'), [cell for cell in CELLS if cell[1:] not in COVERING])
def test_every_role(name, role, part, partner):
    check_role(name, role, part, partner)


def check_role(name, role, part, partner):
    size = SPECIMENS[name].size
    pair = {role: classifier(name), ('teacher' if role == 'student' else 'student'): classifier(partner, size)}
    early = role if part == 'early' else next(other for other in pair if other != role)
    model = algorithm(**pair, size=size, early=early)
    losses = losses_of(model, size)
    assert all(loss.isfinite() for loss in losses.values())
    assert {key.split('_')[1] for key in losses if key.startswith('distill')} == {'ts', 'ta', 'as'}

    # What the assistant learns goes to the student's part of it, on either side of the projector.
    sum(loss for key, loss in losses.items() if 'loss_ta' in key).backward(retain_graph=True)
    view = model.distiller.student_view
    modules = view.modules[2 if early == 'student' else 3]
    shared = [p for module in modules for p in view.net.get_submodule(module).parameters()]
    assert any(p.grad is not None and p.grad.any() for p in shared)
    assert all(p.grad is not None for p in model.distiller.assistant.parameters())

    sum(loss for key, loss in losses.items() if 'loss' in key).backward()
    unused = UNUSED.get(name, 'none') if role == 'student' else 'none'
    for key, parameter in model.named_parameters():
        assert not parameter.requires_grad or (parameter.grad is None) == (unused in key), key
    assert all(parameter.grad is None for parameter in model.teacher.parameters())


@pytest.mark.parametrize(
    ('name', 'size'),
    [('ResNet', (64, 96)), ('PCPVT', (64, 96)), ('VAN', (96, 64)), ('Conformer', (64, 96)), ('HRNet', (96, 64))],
)
def test_images_that_are_not_square(name, size):
    view = view_of(classifier(name), size)
    seen, _ = observe(view)
    with torch.no_grad():
        torch.testing.assert_close(view.tail(seen.stages[3]).logits, seen.logits, **EXACT)
    assert all((stage.grid[0] > stage.grid[1]) == (size[0] > size[1]) for stage in view.stages)


@pytest.mark.parametrize('name', REFUSED)
def test_refused_with_the_reason(name):
    options = {} if name == 'LeNet5' else dict(depth=50) if name == 'SparseResNet' else dict(arch='small')
    model = built(Specimen(dict(type=name, **options), 84).config)
    with pytest.raises(ValueError, match=rf'model.teacher.backbone: {name} .*{REFUSED[name]}.*four stages'):
        view_of(model, key='model.teacher')


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('RevVisionTransformer', dict(no_custom_backward=False), r'no_custom_backward=False .*Set it to True'),
        ('MViT', dict(out_scales=[2, 3]), r'out_scales=\[2, 3\]. Expected 3 indices'),
        ('HorNet', dict(with_cp=True), r'does not call backbone.stages.0, .*with_cp'),
        ('ResNet', dict(num_stages=3, out_indices=(2,), strides=(1, 2, 2), dilations=(1, 1, 1)), '3 stages, but 4'),
    ],
)
def test_what_cannot_be_cut_names_the_option(name, change, message):
    specimen = SPECIMENS[name]
    model = built(specimen._replace(backbone=dict(specimen.backbone, **change)).config)
    with pytest.raises(ValueError, match=rf'model.teacher.*{message}'):
        view_of(model, (specimen.size,) * 2, 'model.teacher').stages  # noqa: B018


def test_classifier_of_vgg_in_its_backbone():
    """It takes 7x7 pixels of 512 channels, whatever comes before."""
    model = built(Specimen(dict(type='VGG', depth=11), 512, None, 'ClsHead').config)
    model.backbone.num_classes = NUM_CLASSES
    model.backbone.classifier = torch.nn.Sequential(torch.nn.Linear(512 * 49, 8), torch.nn.Linear(8, NUM_CLASSES))
    view = view_of(model)
    seen, output = observe(view)
    assert view.feature_dim == 8
    torch.testing.assert_close(seen.logits, output, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(view.tail(seen.stages[3]).logits, output, **EXACT)
        elsewhere = seen.map(3).to(memory_format=torch.channels_last)  # as a projector may give it
        torch.testing.assert_close(view.tail(view.from_map(elsewhere, 3)).logits, output, **EXACT)


def test_distilled_deit_gives_the_mean_of_its_heads_and_the_class_token():
    model = classifier('DistilledVisionTransformer').eval()
    view = view_of(model)
    seen, output = observe(view)
    head = model.head.layers
    class_token, distillation_token = (model.backbone.ln1(seen.stages[4])[:, i] for i in (0, 1))
    torch.testing.assert_close(seen.feature, class_token)
    torch.testing.assert_close(output, (head.head(class_token) + head.head_dist(distillation_token)) / 2)


@pytest.mark.parametrize(('sync', 'momentum'), [(False, 0.1), (False, None), (True, 0.1)])
def test_student_and_assistant_have_running_statistics_of_their_own(sync, momentum):
    """Late part from the student: each pass normalizes with its batch and updates its own statistics."""

    def student():
        model = classifier('ResNet').train()
        if sync:
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        for norm in norms_of(model):
            norm.momentum = momentum
        model.backbone.layer4[1].eval()  # as norm_eval does
        return model

    def norms_of(model):
        return [m for m in model.modules() if isinstance(m, (torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm))]

    images = torch.randn(4, 3, 64, 64)
    distilled, alone = student(), student()
    model = TAS(
        architecture=distilled,
        teacher=classifier('ResNet'),
        distiller=dict(type='tas_mm.TASDistiller', input_size=64, assistant=dict(early='teacher')),
    )
    before = {key: value.clone() for key, value in distilled.named_buffers()}
    model.loss(images, [DataSample().set_gt_label(0) for _ in images])  # student once, assistant once
    alone(images)
    for (key, value), wanted in zip(distilled.named_buffers(), alone.buffers()):
        torch.testing.assert_close(value, wanted)
        assert torch.equal(value, before[key]) == ('layer4.1' in key), key

    assistant = model.distiller.assistant
    assert {key.split('.')[1].split('-')[2] for key in assistant.state_dict() if key.startswith('statistics')} == {
        '0',
        '1',
    }
    stage3 = torch.randn(4, 32, 4, 4)
    with torch.no_grad():
        for _ in range(200):  # until its statistics are those of these images
            trained = assistant(stage3).logits
        model.eval()
        tracked = assistant(stage3).logits
        spread = trained.std(dim=0).max()
        assert (tracked - trained).abs().max() < 0.5 * spread
        projected = assistant.projector(stage3)
        by_student = assistant.late.tail(projected).logits
    assert (tracked - by_student).abs().max() > 1e-3 * spread


def test_batch_norms_that_never_train_are_the_students_in_the_assistant_too():
    """A detector's backbone with norm_eval=True: the weights are loaded after the assistant is built."""
    model = TAS(
        architecture=classifier('ResNet'),
        teacher=classifier('ResNet'),
        distiller=dict(type='tas_mm.TASDistiller', input_size=64, assistant=dict(early='teacher')),
    )
    late = model.student.backbone.layer4
    with torch.no_grad():
        for norm in late.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(1, 3)
    late.eval()
    assistant, stage3 = model.distiller.assistant, torch.randn(4, 32, 4, 4)
    wanted = assistant.late.tail(assistant.projector(stage3)).logits
    torch.testing.assert_close(assistant(stage3).logits, wanted)
