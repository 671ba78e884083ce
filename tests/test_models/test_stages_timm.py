"""Stage views of timm networks: the tail is exact, features cross, and pairs train."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from tas_mm.analysis.trial import build_pair, synthetic_batch, train_step
from tas_mm.models.stages import TracedView, view_of
from tas_mm.models.teachers import ModuleTeacher
from tas_mm.recipes.sources import build_classifier

# name, image size, family, channels and grid of stage 3
NETWORKS = [
    ('test_resnet', (96, 64), 'cnn', (192, 6, 4)),
    ('resnetv2_18', (64, 64), 'cnn', (256, 4, 4)),  # its classifier is a 1x1 convolution
    ('test_convnext', (96, 96), 'cnn', (48, 6, 6)),
    ('mobilenetv3_small_050', (96, 96), 'cnn', (24, 6, 6)),
    ('test_efficientnet', (96, 96), 'cnn', (48, 6, 6)),
    ('vgg11', (64, 64), 'cnn', (512, 8, 8)),
    ('hrnet_w18_small', (64, 64), 'cnn', (112, 4, 4)),  # several resolutions at once
    ('poolformerv2_s12', (64, 64), 'cnn', (320, 4, 4)),
    ('test_vit', (160, 160), 'attention', (64, 10, 10)),
    ('vit_tiny_patch16_dinov3_qkvb', (96, 64), 'attention', (192, 6, 4)),  # registers, rotary embedding, not square
    ('deit_tiny_distilled_patch16_224', (224, 224), 'attention', (192, 14, 14)),  # two heads
    ('eva02_tiny_patch14_224', (224, 224), 'attention', (192, 16, 16)),
    ('swin_tiny_patch4_window7_224', (224, 224), 'attention', (768, 7, 7)),  # NHWC
    ('pvt_v2_b0', (64, 64), 'attention', (160, 4, 4)),
    ('xcit_nano_12_p8_224', (64, 64), 'attention', (128, 8, 8)),
    ('cait_xxs24_224', (224, 224), 'attention', (192, 14, 14)),
    ('levit_128s', (224, 224), 'attention', (384, 4, 4)),  # three stages
    ('pit_ti_224', (224, 224), 'attention', (128, 14, 14)),  # class tokens beside the map
    ('pit_s_distilled_224', (224, 224), 'attention', (288, 14, 14)),
    ('tnt_s_patch16_224', (224, 224), 'attention', (768, 14, 14)),  # pixels inside patches
    ('coat_lite_tiny', (224, 224), 'attention', (256, 14, 14)),
    ('test_maxvit', (160, 160), 'attention', (96, 10, 10)),
    ('gmlp_ti16_224', (224, 224), 'mlp', (128, 14, 14)),
]


def timm_view(name, size=None):
    torch.manual_seed(0)
    return view_of(build_classifier(f'timm:{name}', 10), size)


@pytest.mark.parametrize(('name', 'size', 'family', 'stage3'), NETWORKS)
def test_tail_gives_what_the_whole_network_gives(name, size, family, stage3):
    view = timm_view(name, size)
    assert view.family == family
    assert (view.stages[2].channels, *view.stages[2].grid) == stage3
    for start in (2, 3, 4):
        assert view.check_tail(start, tolerance=1e-5) <= 1e-5
    for stage, info in enumerate(view.stages, 1):
        x = torch.randn(2, info.channels, *info.grid)
        back = view.to_map(view.from_map(x, stage), stage)
        if len(view.layouts[stage - 1].parts) == 1:
            torch.testing.assert_close(back, x)
        assert back.shape == x.shape


@pytest.mark.parametrize(
    ('name', 'late'), [('test_vit', ('blocks.5', 'head')), ('test_resnet', ('layer4', 'fc'))], ids=['chain', 'replay']
)
def test_tail_computes_nothing_before_the_cut(name, late):
    view = timm_view(name)
    native = view.from_map(torch.randn(2, view.stages[2].channels, *view.stages[2].grid), 3)
    ran = []
    for name, module in view.net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            forward = module.forward
            module.forward = lambda x, name=name, forward=forward: ran.append(name) or forward(x)
    view.tail(native)
    assert ran
    assert all(name.startswith(late) for name in ran)


def test_short_circuited_modules_cost_no_memory():
    """Short-circuited modules return tensors of stride 0: one element, whatever the shape."""
    view = timm_view('test_resnet', (64, 64))
    native, seen = torch.randn(2, view.stages[2].channels, *view.stages[2].grid), {}
    for name in ('conv1', 'layer1', 'layer2', 'layer3', 'layer4'):
        module = view.net.get_submodule(name)
        module.register_forward_hook(lambda m, args, output, name=name: seen.update({name: output}))
    view.tail(native)
    assert seen['layer3'] is native
    for name in ('conv1', 'layer1', 'layer2'):
        assert set(seen[name].stride()) == {0}, name
        assert seen[name].untyped_storage().nbytes() == seen[name].element_size()
        assert not seen[name].any()
    assert set(seen['layer4'].stride()) != {0}


def test_a_network_that_writes_into_what_its_modules_return_is_replayed_too():
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Conv2d(3, 3, 3, 1, 1) for _ in range(4))
            self.out = nn.Linear(3, 5)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
                x += 1
            return self.out(x.mean((2, 3)))

    view = view_of(ModuleTeacher(Adds()), (32, 32))
    assert view.check_tail(4) == 0


@pytest.mark.parametrize('name', ['test_vit', 'resmlp_12_224'])
def test_equal_blocks_run_without_a_replay(name, monkeypatch):
    view = timm_view(name)
    x = torch.randn(1, view.stages[2].channels, *view.stages[2].grid)
    view.model.eval()
    with torch.no_grad():
        replayed = TracedView.run_tail.__get__(view)
        chained = view.tail(view.from_map(x, 3)).logits
        monkeypatch.setattr(view, 'run_tail', replayed, raising=False)
        assert torch.equal(view.tail(view.from_map(x, 3)).logits, chained)


def test_tail_leaves_the_network_as_it_was():
    view = timm_view('test_resnet', (64, 64))
    before = {key: value.clone() for key, value in view.model.state_dict().items()}
    view.model.eval()
    view.tail(torch.randn(2, 192, 4, 4))
    assert not any('forward' in module.__dict__ for module in view.model.modules())
    assert all(torch.equal(value, before[key]) for key, value in view.model.state_dict().items())


def test_tail_passes_gradients_in_training():
    view = timm_view('test_resnet', (64, 64))
    view.model.train()
    x = torch.randn(2, 192, 4, 4, requires_grad=True)
    view.tail(x).logits.sum().backward()
    assert x.grad.abs().sum() > 0
    assert view.net.layer4[0].conv1.weight.grad is not None
    assert view.net.layer1[0].conv1.weight.grad is None


def test_tail_under_gradient_checkpointing():
    view = timm_view('test_vit')
    x = torch.randn(2, 64, 10, 10)
    gradients = []
    for enabled in (False, True):
        view.net.set_grad_checkpointing(enabled)
        view.model.train()
        view.net.zero_grad()
        view.tail(view.from_map(x, 3)).logits.square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in view.net.named_parameters() if p.grad is not None})
    assert any(name.startswith('blocks.5.') for name in gradients[0])
    torch.testing.assert_close(*gradients)


def test_tail_under_autocast():
    view = timm_view('test_vit')
    native = view.from_map(torch.randn(2, 64, 10, 10), 3)
    with torch.autocast('cpu', torch.bfloat16):
        low = view.tail(native.bfloat16())
    torch.testing.assert_close(low.logits.float(), view.tail(native).logits, atol=0.05, rtol=0.05)


def test_late_part_gets_its_own_class_tokens():
    view = timm_view('vit_tiny_patch16_dinov3_qkvb', (64, 64))
    native = view.from_map(torch.zeros(2, 192, 4, 4), 3)
    assert native.shape == (2, 5 + 16, 192)
    torch.testing.assert_close(native[:, :1], view.net.cls_token.expand(2, -1, -1))
    torch.testing.assert_close(native[:, 1:5], view.net.reg_token.expand(2, -1, -1))
    x = torch.randn(2, 192, 4, 4)
    native = view.from_map(x, 3, class_token='mean')
    torch.testing.assert_close(native[:, :5], x.mean((2, 3)).unsqueeze(1).expand(-1, 5, -1))
    assert torch.equal(view.to_map(native, 3), x)


def test_tokens_of_a_window_come_in_order():
    view = timm_view('hiera_tiny_224')
    rows = torch.arange(14.0).view(1, 1, 14, 1).expand(2, 384, 14, 14)
    native = view.from_map(rows, 3)
    from_timm = view.net.reroll(native, 9).permute(0, 3, 1, 2)
    torch.testing.assert_close(from_timm, rows)
    torch.testing.assert_close(view.to_map(native, 3), rows)


@pytest.mark.parametrize('name', ['test_resnet', 'test_convnext', 'test_efficientnet'])
def test_backbone_of_an_image_classifier(name):
    torch.manual_seed(0)
    width = dict(test_resnet=96, test_convnext=64, test_efficientnet=256)[name]
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='TIMMBackbone', model_name=name),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=width),
            _scope_='mmpretrain',
        )
    )
    view = view_of(model, (64, 64))
    assert view.stages[2].source.startswith('backbone.timm_model.')
    assert view.feature_dim == width
    assert view.check_tail(4, tolerance=1e-5) <= 1e-5


@pytest.mark.parametrize('name', ['crossvit_tiny_240', 'nasnetalarge'])
def test_what_cannot_be_cut_is_refused_with_a_reason(name):
    with torch.device('meta'):
        model = MODELS.build(dict(type='TimmClassifier', model_name=name, num_classes=10, _scope_='mmpretrain'))
    with pytest.raises(ValueError, match='cannot be cut into 4 stages: '):
        view_of(model)


def test_network_whose_head_reads_earlier_stages_is_no_late_part():
    student = build_classifier('timm:test_resnet', 10)
    teacher = build_classifier('timm:efficientvim_m1', 10)
    with pytest.raises(ValueError, match='model.teacher: EfficientViM cannot be a late part from stage 4 on'):
        build_pair(teacher, student, (224, 224))


@pytest.mark.parametrize('name', ['test_vit', 'deit_tiny_distilled_patch16_224', 'resnetv2_18', 'pit_ti_224'])
@pytest.mark.parametrize('early', ['student', 'teacher'])
@pytest.mark.parametrize('role', ['student', 'teacher'])
def test_all_roles_train(name, early, role):
    torch.manual_seed(0)
    size = (160, 160) if name == 'test_vit' else (224, 224)
    partner = 'timm:test_resnet' if name != 'resnetv2_18' else 'timm:vit_tiny_patch16_224'
    names = dict(teacher=partner, student=partner) | {role: f'timm:{name}'}
    pair = {key: build_classifier(value, 10) for key, value in names.items()}
    algorithm = build_pair(**pair, input_size=size, assistant=dict(early=early))
    logs = train_step(algorithm, synthetic_batch(algorithm))
    assert logs['unused_parameters'] == 0
    assert len([key for key in logs if key.startswith('distill.')]) == 6


def test_swin_is_cut_alike_in_both_toolboxes():
    """Stage 4 of the paper's Swin takes 768 channels at 7x7, which makes its projector 7.9 M parameters large."""
    views = [
        view_of(build_classifier(n)) for n in ('timm:swin_tiny_patch4_window7_224', 'mmpretrain:swin-tiny_16xb64_in1k')
    ]
    shapes = [[(stage.channels, stage.grid) for stage in view.stages] for view in views]
    assert shapes[0] == shapes[1] == [(192, (28, 28)), (384, (14, 14)), (768, (7, 7)), (768, (7, 7))]
