"""TAS inside one-stage, two-stage and transformer detectors, with and without annotations."""

from copy import deepcopy

import pytest
import torch

from tests.detection.data import build_detector
from tests.detection.tiny import CONFIGS, observe_teacher, tiny

pytestmark = pytest.mark.detection
PATHS = {f'distill.loss_{path}_nce' for path in ('ts', 'ta', 'as')}


def distillation(student: str, teacher: str, swin: bool = True, **options) -> torch.nn.Module:
    """A thin student on a CNN, and a thin teacher, on a Swin as a rule."""
    model = dict(type='tas_mm.DetectorTAS', architecture=tiny(student), teacher=tiny(teacher, swin), **options)
    algorithm = build_detector(deepcopy(model))
    algorithm.init_weights()
    return algorithm.train()


def batch(algorithm: torch.nn.Module, annotated=(True, True)) -> dict:
    """Two images of different sizes, preprocessed."""
    from mmdet.testing import demo_mm_inputs

    masks = type(algorithm.student).__name__ == 'MaskRCNN'
    data = demo_mm_inputs(2, [[3, 96, 160], [3, 128, 96]], num_items=[2, 3], num_classes=80, with_mask=masks)
    for sample, has in zip(data['data_samples'], annotated):
        if not has:
            del sample.gt_instances  # as of a pipeline without LoadAnnotations
    return algorithm.data_preprocessor(data, training=True)


def check_gradients(algorithm: torch.nn.Module, losses: dict) -> None:
    """Every trained parameter gets a finite gradient, as DDP needs; the teacher gets none."""
    algorithm.parse_losses(losses)[0].backward()
    trained = {name: p for name, p in algorithm.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in trained.values())
    assert all(p.grad is None for p in algorithm.teacher.network.parameters())


@pytest.mark.parametrize('student', CONFIGS)
def test_any_detector_learns_from_a_swin(student):
    algorithm = distillation(student, 'retinanet')
    losses = algorithm(**batch(algorithm), mode='loss')
    assert {key for key in losses if key.startswith('distill.')} == PATHS
    own = {key for key in losses if key.startswith('student.')}
    assert {'student.loss_cls', 'student.loss_bbox'} <= own
    check_gradients(algorithm, losses)


@pytest.mark.parametrize('teacher', ['fcos', 'mask_rcnn', 'dino'])
def test_the_sure_boxes_of_any_teacher_are_the_regions_of_an_image_without_annotations(teacher):
    algorithm = distillation('retinanet', teacher)
    data, found = batch(algorithm, annotated=(True, False)), []
    network, predict = algorithm.teacher.network, algorithm.teacher.network.predict

    def sure(*args, **kwargs):
        samples = predict(*args, **kwargs)
        for sample in samples:
            sample.pred_instances.scores[:2] = 0.9
            sample.pred_instances.scores[2:] = 0.1
        found.extend(samples)
        return samples

    network.predict = sure
    seen = observe_teacher(algorithm, data)
    regions = seen.regions
    boxes = found[1].pred_instances.bboxes[:2]
    assert regions[:, 0].tolist() == [0, 0, 0, 1] + [1] * len(boxes)
    torch.testing.assert_close(regions[4:, 1:], boxes)
    assert len(seen.feature) == len(regions)


@pytest.mark.parametrize('student', ['retinanet', 'faster_rcnn', 'detr'])
def test_an_image_without_annotations_does_not_count_in_the_students_own_losses(student):
    algorithm = distillation(student, 'retinanet')
    algorithm.eval()  # batch norm would make images depend on each other
    data = batch(algorithm, annotated=(True, False))
    torch.manual_seed(0)  # of the sampler of proposals
    mixed = algorithm.loss(**data)
    torch.manual_seed(0)
    alone = algorithm.student.loss(data['inputs'][:1], data['data_samples'][:1])
    assert {key for key in mixed if key.startswith('distill.')} == PATHS
    for key, value in alone.items():
        torch.testing.assert_close(mixed[f'student.{key}'], value)


@pytest.mark.parametrize('student', ['retinanet', 'faster_rcnn'])
def test_a_batch_without_annotations_trains_by_the_teacher_alone(student):
    algorithm = distillation(student, 'retinanet')
    losses = algorithm(**batch(algorithm, annotated=(False, False)), mode='loss')
    assert losses.keys() == PATHS
    algorithm.parse_losses(losses)[0].backward()
    shortcut = algorithm.student.backbone.layer4[0].downsample[0]  # fresh blocks add nothing to it yet
    assert shortcut.weight.grad.abs().sum() > 0


def test_class_scores_are_compared_location_by_location():
    scores = dict(type='tas_mm.TASDistiller', terms=dict(scores=dict(type='tas_mm.DenseLogitLoss')))
    algorithm = distillation('fcos', 'atss', distiller=scores)
    for annotated in ((True, True), (True, False)):
        data = batch(algorithm, annotated)
        seen = observe_teacher(algorithm, data)
        losses = algorithm(**data, mode='loss')
        network = algorithm.teacher.network
        maps = network.bbox_head(network.extract_feat(algorithm.teacher.normalized(data['inputs'])))[0]
        torch.testing.assert_close(seen.dense_logits, by_location(maps))
        assert losses['distill.loss_scores'] > 0
        assert 'student.loss_centerness' in losses
    check_gradients(algorithm, losses)


def pyramid_losses(*levels: int, finer: int = 0) -> dict:
    """CWD on levels of the student; the teacher's pyramid starts so many levels finer."""
    term = dict(type='mmrazor.ChannelWiseDivergence', tau=1, loss_weight=10)
    terms = {f'cwd{i}': dict(term, reads=dict(student=f'level{i}', teacher=f'level{i + finer}')) for i in levels}
    return dict(distiller=dict(type='tas_mm.TASDistiller', terms=terms))


@pytest.mark.parametrize('annotated', [(True, True), (True, False), (False, False)])
def test_levels_of_two_pyramids_are_compared(annotated):
    algorithm = distillation('retinanet', 'faster_rcnn', **pyramid_losses(1, 3, finer=1)).eval()
    data = batch(algorithm, annotated)
    losses = algorithm(**data, mode='loss')
    ours = algorithm.student.extract_feat(data['inputs'])
    theirs = algorithm.teacher.network.extract_feat(algorithm.teacher.normalized(data['inputs']))
    for i in (1, 3):  # of all images, annotated or not
        p, q = theirs[i].flatten(2), ours[i - 1].flatten(2)
        divergence = (p.softmax(2) * (p.log_softmax(2) - q.log_softmax(2))).sum()
        torch.testing.assert_close(losses[f'distill.loss_cwd{i}'], 10 * divergence / (2 * p.size(1)))
    if any(annotated):
        check_gradients(algorithm, losses)


def test_levels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r'reads level5, but model.architecture \(RTMDet\) has a pyramid of 3 levels'):
        distillation('rtmdet', 'retinanet', **pyramid_losses(5))
    with pytest.raises(
        ValueError, match=r"32x32 places, and .*64x64. Expected dict\(student='level1', teacher='level2'\)"
    ):
        distillation('retinanet', 'faster_rcnn', **pyramid_losses(1))
    resizing = dict(type='tas_mm.TASDistiller', terms=dict(x=dict(type='tas_mm.DenseMSELoss', reads='level1')))
    distillation('retinanet', 'faster_rcnn', distiller=resizing)


def test_levels_in_mmrazors_form_are_the_same():
    short = distillation('retinanet', 'faster_rcnn', **pyramid_losses(1, 2, finer=1))
    form = dict(type='tas_mm.TASDistiller', **short.distiller.razor_config())
    whole = distillation('retinanet', 'faster_rcnn', distiller=form)
    whole.load_state_dict(short.state_dict())
    whole.teacher.network.load_state_dict(short.teacher.network.state_dict())
    losses = [model.eval()(**batch(short), mode='loss') for model in (short, whole)]
    torch.testing.assert_close(*losses)


def by_location(maps: list[torch.Tensor]) -> torch.Tensor:
    """All scores of the first image, then those of the second, each level by level and row by row."""
    rows = []
    for i in range(len(maps[0])):
        for level in maps:
            rows += [level[i, :, y, x] for y in range(level.size(2)) for x in range(level.size(3))]
    return torch.stack(rows)


def test_heads_of_other_forms_are_refused():
    scores = dict(type='tas_mm.TASDistiller', terms=dict(scores=dict(type='tas_mm.DenseLogitLoss')))
    with pytest.raises(ValueError, match='80 classes and 9 priors at strides 8, 16, 32, 64, 128, and model.teacher'):
        distillation('retinanet', 'fcos', distiller=scores)
    with pytest.raises(ValueError, match='FasterRCNN has no class scores by location'):
        distillation('retinanet', 'faster_rcnn', distiller=scores)


def test_a_teacher_of_convolutions_gives_the_late_part_too():
    algorithm = distillation('atss', 'rtmdet', swin=False)
    assert type(algorithm.distiller.assistant.projector).__name__ == 'ConvProjector'
    check_gradients(algorithm, algorithm(**batch(algorithm), mode='loss'))
