"""Networks without a head, teachers of other classes and sizes, and images without labels."""

import json

import pytest
import timm
import torch
import torchvision
import transformers
from mmpretrain.structures import DataSample
from torch import nn

from tas_mm.models import ModuleTeacher
from tas_mm.models.knowledge import UNLABELED, labels_of
from tas_mm.models.stages import view_of
from tests import networks
from tests.networks import NUM_CLASSES, SIZE, samples

LEAN = dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher', late_stages=0))
TINY = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=SIZE)


def timm_vit(**kwargs):
    options = dict(img_size=SIZE, patch_size=16, embed_dim=32, depth=4, num_heads=2, num_classes=0)
    return dict(type='mmpretrain.TimmClassifier', model_name='vit_tiny_patch16_224', **options | kwargs)


def headless(config):
    return dict(config, head=None)


def without(module, name):
    setattr(module, name, nn.Identity())
    return module


def module_view(module, size=SIZE):
    return view_of(ModuleTeacher(module.eval()), (size, size))


class Tokens(nn.Module):
    """Returns whatever it is set to return: tokens, a map, or several in a tuple or a dict."""

    def __init__(self, give) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 16, 16)
        self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(4))
        self.give = give

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.give(x)


# ---- what the feature is ---------------------------------------------------------------------------------------------


def hugging_face(kind, **kwargs):
    return transformers.AutoModel.from_config(getattr(transformers, f'{kind}Config')(**TINY | kwargs))


NETWORKS = dict(
    timm_vit=(lambda: timm.create_model('vit_tiny_patch16_224', img_size=SIZE, depth=4, num_classes=0), 192, 'output'),
    timm_dinov2=(
        lambda: timm.create_model('vit_small_patch14_reg4_dinov2', img_size=70, depth=4, num_classes=0),
        384,
        'output',
    ),
    timm_dinov3=(lambda: timm.create_model('vit_small_patch16_dinov3', depth=4, num_classes=0), 384, 'output'),
    timm_siglip=(
        lambda: timm.create_model('vit_base_patch16_siglip_224', img_size=SIZE, depth=4, embed_dim=96, num_classes=0),
        96,
        'output',
    ),
    timm_tokens=(
        lambda: timm.create_model('vit_tiny_patch16_224', img_size=SIZE, depth=4, num_classes=0, global_pool=''),
        192,
        'class token of 17 tokens',
    ),
    timm_map=(lambda: timm.create_model('resnet10t', num_classes=0, global_pool=''), 512, 'mean over 2x2 positions'),
    torchvision_resnet=(lambda: without(torchvision.models.resnet18(), 'fc'), 512, 'output'),
    torchvision_mobilenet=(lambda: without(torchvision.models.mobilenet_v3_small(), 'classifier'), 576, 'output'),
    torchvision_vit=(
        lambda: without(torchvision.models.VisionTransformer(SIZE, 16, 4, 2, 32, 64), 'heads'),
        32,
        'output',
    ),
    hf_vit=(lambda: hugging_face('ViT', intermediate_size=64), 32, 'class token of 17 tokens'),
    hf_dinov2=(lambda: hugging_face('Dinov2WithRegisters', patch_size=16), 32, 'output'),
    hf_clip=(lambda: hugging_face('CLIPVision', patch_size=16), 32, 'output'),
    hf_convnext=(
        lambda: transformers.AutoModel.from_config(
            transformers.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 32, 64])
        ),
        64,
        'output',
    ),
    own_map=(lambda: Tokens(lambda x: x), 8, 'mean over 4x4 positions'),
    own_pyramid=(lambda: Tokens(lambda x: (x, x.mean((2, 3), keepdim=True))), 8, 'output'),
    own_tokens=(lambda: Tokens(lambda x: x.flatten(2).transpose(1, 2)), 8, 'mean over 4x4 positions'),
    own_dict=(lambda: Tokens(lambda x: dict(x_norm_clstoken=x.mean((2, 3)), x_norm_patchtokens=x)), 8, 'output'),
)


@pytest.mark.parametrize('name', NETWORKS)
def test_feature_of_a_headless_network_is_found_and_its_tail_gives_the_same(name):
    build, width, description = NETWORKS[name]
    view = module_view(build(), 70 if name == 'timm_dinov2' else SIZE)
    assert view.headless
    assert view.logits_source is None
    assert view.num_classes is None
    assert view.feature_dim == width
    assert view.pooling.description.startswith(description)
    assert view.check_tail(4) < 1e-5


@pytest.mark.parametrize(
    ('config', 'width'), [(networks.resnet(), 128), (networks.vit('raw'), 32), (networks.swin(), 128)]
)
@pytest.mark.parametrize('neck', [True, False])
def test_backbones_of_mmpretrain_without_a_head(build, config, width, neck):
    config = headless(config if neck else dict(config, neck=None))
    view = view_of(build(config).eval(), (SIZE, SIZE))
    assert view.headless
    assert view.feature_dim == width
    assert view.check_tail(4) < 1e-5


def test_feature_can_be_chosen_and_is_that_of_the_library():
    net = timm.create_model('vit_tiny_patch16_224', img_size=SIZE, depth=4, num_classes=0).eval()
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        tokens = net.forward_features(images)
    for kind, expected in (('class_token', tokens[:, 0]), ('mean', tokens[:, 1:].mean(1)), ('output', tokens[:, 0])):
        view = view_of(ModuleTeacher(net), (SIZE, SIZE), feature=kind)
        seen = view.tail(view.from_map(torch.zeros(2, 192, 4, 4), 3))
        assert seen.feature.shape == (2, 192)
        from tas_mm.models.observer import Observer

        with torch.no_grad():
            observed, _ = Observer(view)(view.run, images)
        torch.testing.assert_close(observed.feature, expected)
        assert observed.logits is None


def test_network_with_a_head_is_not_taken_for_headless():
    for module in (
        torchvision.models.resnet18(),
        torchvision.models.squeezenet1_1(),
        torchvision.models.VisionTransformer(SIZE, 16, 4, 2, 32, 64),
        timm.create_model('resnet10t'),
    ):
        assert not module_view(module).headless, type(module)


@pytest.mark.parametrize('kind', ['class_token', 'mean'])
def test_feature_that_a_network_does_not_have_is_an_error_with_the_key(build_tas, kind):
    with pytest.raises(ValueError, match=r'model.teacher: no feature .*model.distiller.teacher_feature'):
        build_tas(
            networks.resnet(),
            without(torchvision.models.resnet18(), 'fc'),
            distiller=dict(type='tas_mm.TASDistiller', teacher_feature=kind),
        )


# ---- TAS with them ---------------------------------------------------------------------------------------------------


def names(losses):
    return {name.removeprefix('distill.loss_') for name in losses if name.startswith('distill')}


def test_headless_teacher_drops_the_losses_that_need_its_logits_and_says_so(build_tas, batch):
    algorithm = build_tas(networks.resnet(), timm_vit())
    losses = algorithm(*batch, mode='loss')
    assert names(losses) == {'ts_nce', 'ta_nce', 'as_nce'}
    assert 'student.loss' in losses
    assert set(algorithm.distiller.left_out) == {'loss_ts_kd', 'loss_ta_kd', 'loss_as_kd'}
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)


def test_assistant_with_the_students_head_keeps_both_losses(build_tas, batch):
    algorithm = build_tas(networks.resnet(), timm_vit(), distiller=LEAN)
    assert names(algorithm(*batch, mode='loss')) == {'ts_nce', 'ta_nce', 'as_nce', 'as_kd'}
    assert algorithm.predicting_roles == ('student', 'assistant')


def test_asking_for_logits_that_nobody_has_is_an_error(build_tas):
    kd = dict(type='tas_mm.PairDistiller', terms=dict(kd=dict(type='KLDivergence')))
    for distiller in (dict(type='tas_mm.TASDistiller', logit_loss=dict(type='KLDivergence')), kd):
        with pytest.raises(ValueError, match='no logits'):
            build_tas(networks.resnet(), timm_vit(), distiller=distiller)


def test_self_supervised_model_teaches_by_its_backbone(build_tas, batch):
    arch = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
    model = dict(
        type='MAE',
        _scope_='mmpretrain',
        backbone=dict(type='MAEViT', arch=arch, img_size=SIZE, patch_size=16, mask_ratio=0.75),
        neck=dict(
            type='MAEPretrainDecoder', num_patches=16, embed_dim=32, decoder_embed_dim=16, decoder_depth=1,
            decoder_num_heads=2,
        ),
        head=dict(type='MAEPretrainHead', patch_size=16, loss=dict(type='PixelReconstructionLoss', criterion='L2')),
    )  # fmt: skip
    algorithm = build_tas(networks.resnet(), model)
    assert names(algorithm(*batch, mode='loss')) == {'ts_nce', 'ta_nce', 'as_nce'}
    assert algorithm.distiller.teacher_view.pooling.description == 'class token of 17 tokens'


def test_bare_backbone_of_mmpretrain_teaches(build_tas, batch):
    backbone = dict(networks.vit()['backbone'], _scope_='mmpretrain')
    assert names(build_tas(networks.resnet(), backbone)(*batch, mode='loss')) == {'ts_nce', 'ta_nce', 'as_nce'}


def test_headless_teacher_from_hugging_face_by_its_config(build_tas, batch, tmp_path):
    hugging_face('Dinov2', patch_size=16).save_pretrained(tmp_path)
    teacher = dict(type='tas_mm.HuggingFaceBackbone', model_name=str(tmp_path), pretrained=True)
    teacher.update(data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3))
    algorithm = build_tas(networks.resnet(), teacher)
    assert names(algorithm(*batch, mode='loss')) == {'ts_nce', 'ta_nce', 'as_nce'}


def test_cache_keeps_the_feature_of_a_headless_teacher(build_tas, batch, tmp_path):
    algorithm = build_tas(networks.resnet(), timm_vit(), teacher_cache=str(tmp_path))
    first, again = (algorithm(*batch, mode='loss')['distill.loss_ts_nce'] for _ in range(2))
    assert algorithm.teacher.cache.hits == 1
    torch.testing.assert_close(first, again, atol=1e-3, rtol=1e-3)


# ---- classes ---------------------------------------------------------------------------------------------------------


def test_class_map_reorders_the_teachers_logits_everywhere(build_tas, batch, tmp_path):
    order = [7, 2, 0, 5, 9]
    file = tmp_path / 'classes.txt'
    file.write_text('\n'.join(map(str, order)))
    teacher = networks.swin()
    teacher['head']['num_classes'] = 10
    algorithm = build_tas(
        networks.resnet(), teacher, distiller=dict(type='tas_mm.TASDistiller', teacher_classes=str(file))
    )
    whole = algorithm.teacher.network(batch[0], mode='tensor')[:, order]
    seen = algorithm.teacher.observe(batch[0], algorithm.distiller.teacher_observer)
    torch.testing.assert_close(seen.logits, whole)
    torch.testing.assert_close(algorithm.teacher.logits(batch[0]), whole)
    assert algorithm.distiller.assistant(torch.zeros(2, 64, 4, 4, requires_grad=True)).logits.shape == (2, NUM_CLASSES)
    assert 'distill.loss_ta_kd' in algorithm(*batch, mode='loss')


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        ([0, 1, 2, 3, 3], r"teacher_classes: the teacher's class 3 is given for the student's 3 and 4"),
        ([0, 1, 2, 3, 10], r"class 4 of the student is the teacher's 10, but model.teacher has 10 classes"),
        ([0, 1, None, 3, 4], r'class 2 of the student has None'),
        ('0\n1\n\n3\n4', r"class 2 of the student has ''"),
        (json.dumps([0, 1, -1, 3, 4]), r'class 2 of the student has -1'),
        ([0, 1, 2], r'num_classes=3 and model.architecture has num_classes=5'),
    ],
)
def test_wrong_class_map_is_an_error(build_tas, tmp_path, classes, message):
    if isinstance(classes, str):
        (tmp_path / 'classes').write_text(classes)
        classes = str(tmp_path / 'classes')
    teacher = networks.swin()
    teacher['head']['num_classes'] = 10
    with pytest.raises(ValueError, match=message):
        build_tas(networks.resnet(), teacher, distiller=dict(type='tas_mm.TASDistiller', teacher_classes=classes))


def test_features_do_not_care_about_class_counts(build_tas, batch):
    teacher = networks.swin()
    teacher['head']['num_classes'] = 10
    distiller = dict(type='tas_mm.TASDistiller', logit_loss=None)
    assert names(build_tas(networks.resnet(), teacher, distiller=distiller)(*batch, mode='loss')) == {
        'ts_nce',
        'ta_nce',
        'as_nce',
    }
    with pytest.raises(ValueError, match=r'model.teacher has num_classes=10 .*teacher_classes.*logit_loss=None'):
        build_tas(networks.resnet(), teacher)


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_images_without_labels_train_the_student_but_not_its_head(build_tas, batch, logged):
    algorithm = build_tas(networks.resnet(), timm_vit(), distiller=LEAN)
    losses = algorithm(batch[0], [DataSample() for _ in range(4)], mode='loss')
    assert names(losses) == {'ts_nce', 'ta_nce', 'as_nce'}
    assert 'student.loss' not in losses
    algorithm.parse_losses(losses)[0].backward()
    idle = [name for name, p in algorithm.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == ['architecture.head.fc.weight', 'architecture.head.fc.bias']
    assert 'images have no labels' in logged.text


def test_teacher_with_logits_teaches_them_without_labels(build_tas, batch):
    algorithm = build_tas(networks.resnet(), networks.swin(), calculate_student_loss=False)
    assert len(names(algorithm(batch[0], [DataSample() for _ in range(4)], mode='loss'))) == 6


def test_headless_student_trains_and_saves_a_backbone(build_tas, batch):
    algorithm = build_tas(headless(networks.resnet()), timm_vit())
    losses = algorithm(*batch, mode='loss')
    assert names(losses) == {'ts_nce', 'ta_nce', 'as_nce'}
    assert 'student.loss' not in losses
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)
    assert algorithm.predicting_roles == ()


@pytest.mark.parametrize('student', [networks.resnet(), networks.vit(drop_path_rate=0.0), timm_vit(num_classes=5)])
def test_cross_entropy_sees_the_labeled_images_alone(build_tas, student):
    """With batch norm in eval mode, the loss is that of the labeled images by themselves."""
    algorithm = build_tas(student, timm_vit(depth=5))
    algorithm.student.eval()
    images, labels = torch.randn(4, 3, SIZE, SIZE), samples([1, 2])
    mixed = algorithm(images, [labels[0], DataSample(), labels[1], DataSample()], mode='loss')
    alone = algorithm.student(images[[0, 2]], labels, mode='loss')
    torch.testing.assert_close(mixed['student.loss'], alone['loss'])
    assert labels_of([labels[0], DataSample()]).tolist() == [1, UNLABELED]


def test_ofa_enhances_the_labeled_images_alone():
    from tas_mm.models import OFALoss

    learner, target = torch.randn(2, 4), torch.randn(2, 4)
    both = OFALoss(gamma=1.5, reduction='none')(learner, target, torch.tensor([2, UNLABELED]))
    torch.testing.assert_close(both[:1], OFALoss(gamma=1.5)(learner[:1], target[:1], torch.tensor([2]))[None])
    torch.testing.assert_close(both[1:], OFALoss()(learner[1:], target[1:])[None])


# ---- several teachers that differ ------------------------------------------------------------------------------------


def test_each_teacher_sees_its_own_size(build_tas, batch):
    """A teacher of 96 pixels, one of 64 without a head, and one of 64 with one: each is run on its own size."""
    sizes = []
    teachers = [timm_vit(img_size=96), timm_vit(num_classes=NUM_CLASSES), networks.swin()]
    algorithm = build_tas(networks.resnet(), teachers, distiller=dict(type='tas_mm.TASDistiller', input_size=SIZE))
    for network in algorithm.teacher.networks:
        network.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[-1]))
    losses = algorithm(*batch, mode='loss')
    assert sizes == [96, 64, 64]
    assert 'distill.teacher0.loss_ts_kd' not in losses
    assert 'distill.teacher1.loss_ts_kd' in losses
    assert algorithm.teacher.logits(batch[0]).shape == (4, NUM_CLASSES)
    algorithm.teacher.each[0].scale = None  # timm normalizes its own way
    resized = torch.nn.functional.interpolate(batch[0], (96, 96), mode='bicubic', antialias=True)
    torch.testing.assert_close(algorithm.teacher.each[0].normalized(batch[0]), resized)


def test_size_of_the_teacher_can_be_given(build_tas, batch):
    distiller = dict(type='tas_mm.TASDistiller', teacher_size=96, input_size=SIZE)
    algorithm = build_tas(networks.resnet(), networks.resnet(), distiller=distiller)
    assert algorithm.distiller.teacher_view.input_size == (96, 96)
    assert len(names(algorithm(*batch, mode='loss'))) == 6


def test_teachers_dropped_by_image_count_the_same_for_every_image(build_tas, batch):
    """The hardest teacher of each image is kept, and the weights of an image always sum to 1."""
    algorithm = build_tas(networks.resnet(), [networks.swin(), timm_vit()], teacher_weights='by_image')
    each = [dict(a=torch.tensor([1.0, 5.0, 2.0])), dict(a=torch.tensor([2.0, 1.0, 3.0]))]
    for _ in range(20):
        weights = algorithm.distiller._weights_by_image(each)
        torch.testing.assert_close(weights.sum(dim=0), torch.ones(3))
        assert (weights[[1, 0, 1], [0, 1, 2]] > 0).all()
    losses = algorithm(*batch, mode='loss')
    assert all(value.dim() == 0 for name, value in losses.items() if name.startswith('distill'))
    algorithm.parse_losses(losses)[0].backward()


def test_dropping_by_image_needs_losses_with_a_value_per_image(build_tas):
    distiller = dict(type='tas_mm.TASDistiller', logit_loss=dict(type='KLDivergence'))
    with pytest.raises(
        ValueError, match=r'model.teacher_weights: loss_ts_kd of teacher 0 .*does not give a value per image'
    ):
        build_tas(networks.resnet(), [networks.swin(), networks.vit()], distiller=distiller, teacher_weights='by_image')


def test_one_size_for_two_teachers_of_which_one_was_built_for_another_is_an_error(build_tas):
    distiller = dict(type='tas_mm.TASDistiller', input_size=SIZE, teacher_size=SIZE)
    with pytest.raises(ValueError, match=r'images of 64x64 do not fit .*teacher_size.*\(number 1 of model.teacher\)'):
        build_tas(networks.resnet(), [timm_vit(), timm_vit(img_size=96)], distiller=distiller)


def test_every_parameter_gets_a_gradient_without_labels_in_several_processes(build_tas, batch, monkeypatch):
    """DDP waits for all of them; the head's is 0."""
    monkeypatch.setattr('tas_mm.models.algorithms.tas.is_distributed', lambda: True)
    algorithm = build_tas(networks.resnet(), timm_vit(), calculate_student_loss=False)
    losses = algorithm(batch[0], [DataSample() for _ in range(4)], mode='loss')
    assert losses['student.loss_unlabeled'] == 0
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)
    assert not algorithm.student.head.fc.weight.grad.any()
