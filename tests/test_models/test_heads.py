"""Every head is distilled on what the network predicts, or an error names the head."""

import pytest
import torch
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead, MultiTaskHead
from mmpretrain.registry import MODELS

from tas_mm.models import PairDistiller
from tas_mm.models.stages import Observer, view_of
from tas_mm.models.teachers import FrozenTeacher
from tas_mm.recipes.sources import build_classifier
from tests import networks
from tests.networks import SIZE, samples
from tests.specimens import SPECIMENS, TEACHERS_ONLY, classifier

NETWORKS = dict(
    ClsHead=['InceptionV3'],
    LinearClsHead=['ResNet'],
    StackedLinearClsHead=['MobileNetV3'],
    VisionTransformerClsHead=['VisionTransformer'],
    DeiTClsHead=['DistilledVisionTransformer'],
    ConformerHead=['Conformer'],
    EfficientFormerClsHead=['EfficientFormer', 'EfficientFormer_distilled'],
    LeViTClsHead=['LeViT', 'LeViT_distilled'],
    VigClsHead=['ResNet'],
    ArcFaceClsHead=['ResNet'],
)
"""Head to networks that have it, or could."""
OPTIONS = dict(VigClsHead=dict(hidden_dim=16))

LINEAR = dict(num_classes=5, in_channels=128)
REFUSED = dict(
    MultiLabelClsHead={},
    MultiLabelLinearClsHead=LINEAR,
    CSRAClsHead=dict(LINEAR, num_heads=1, lam=0.1),
    RegressionHead={},
    LinearRegressionHead=LINEAR,
    MultiTaskHead=dict(task_heads={name: dict(LINEAR, type='LinearClsHead') for name in ('kind', 'color')}),
)
"""Heads that do not predict one distribution over the classes, and their options."""

TIMM = [  # of all timm networks with a second head, for distillation
    'deit_tiny_distilled_patch16_224',
    'efficientformer_l1',
    'efficientformerv2_s0',
    'efficientvim_m1_dist',
    'iformer_m_distilled',
    'levit_128s',
    'pit_ti_distilled_224',
    'repvit_m0_9',
    'swiftformer_xs',
]


def network(head, name):
    """A network with a head."""
    if name != 'ResNet':
        return classifier(name)
    return MODELS.build(SPECIMENS[name]._replace(head=dict(OPTIONS.get(head, {}), type=head)).config)


def predicted(model, images):
    return torch.stack([sample.pred_score for sample in model(images, mode='predict')])


def assert_distilled_is_predicted(model, size, modes):
    """As a student in every mode, and as a teacher."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear) and layer.out_features == 5:
                layer.weight.normal_()  # as different as those of a trained network
    view, images = view_of(model.eval(), (size, size)), torch.randn(2, 3, size, size)
    teacher = FrozenTeacher(model, torch.nn.Identity())
    teacher.see_as(view, (size, size))
    observer, wanted = Observer(view), teacher.normalized(images)
    with torch.no_grad():
        scores = predicted(model, wanted)
        found = [observer(model, wanted, samples([1, 2]), mode=mode)[0].logits for mode in modes]
        found += [teacher.observe(images, observer).logits, teacher.logits(images)]
    assert scores.std() > 1e-4
    for logits in found:
        torch.testing.assert_close(logits.softmax(1), scores, rtol=1e-4, atol=1e-6)


def test_every_head_of_mmpretrain_that_predicts_classes_has_a_test():
    heads = [cls for cls in MODELS.module_dict.values() if cls.__module__.startswith('mmpretrain.models.heads')]
    known = {cls.__name__ for cls in heads if issubclass(cls, (ClsHead, MultiLabelClsHead, MultiTaskHead))}
    assert known == {*NETWORKS, *REFUSED}


@pytest.mark.parametrize(('head', 'name'), [(head, name) for head, names in NETWORKS.items() for name in names])
def test_what_is_distilled_of_a_head_is_what_it_predicts(head, name):
    model, modes = network(head, name), ('tensor', 'predict', 'loss')
    assert type(model.head).__name__ == head
    assert_distilled_is_predicted(model, SPECIMENS[name].size, modes[:2] if name in TEACHERS_ONLY else modes)


def test_a_head_that_starts_as_zeros_is_read_as_a_whole(build):
    """Its two layers give the same then, and later not."""
    model = build(dict(SPECIMENS['DistilledVisionTransformer'].config))
    view, head = view_of(model, (64, 64)), model.head.layers
    assert not head.head.weight.any()
    _ = view.logits_source
    with torch.no_grad():
        head.head_dist.weight.normal_()
        seen, output = Observer(view)(view.run, torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(seen.logits, output)


@pytest.mark.parametrize('head', REFUSED)
def test_a_head_that_does_not_predict_a_distribution_over_the_classes_is_refused(build, head):
    config = networks.resnet()
    config['head'] = dict(REFUSED[head], type=head)
    distiller = PairDistiller(terms=dict(kd=dict(type='KLDivergence')), input_size=SIZE)
    with pytest.raises(ValueError, match=rf'^model\.teacher\.head.*{head}'):
        distiller.prepare(build(networks.resnet()), build(config))


@pytest.mark.parametrize('name', TIMM)
def test_what_is_distilled_of_two_heads_of_timms_is_what_they_predict(name):
    assert_distilled_is_predicted(build_classifier(f'timm:{name}', 5), 224, ('tensor', 'predict'))
