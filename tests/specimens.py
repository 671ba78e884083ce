"""Small classifiers, one or more for every MMPretrain backbone that can be cut: ``classifier(name)`` builds one.

Widths and depths are as small as the backbones allow; images too, where a network is not bound to 224 pixels.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple

import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

NUM_CLASSES = 5
GAP = dict(type='GlobalAveragePooling')
TINY_VIT = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)


class Specimen(NamedTuple):
    """A classifier's config, and the side of the images that it takes."""

    backbone: dict
    width: int | list[int]
    neck: dict | list | None = GAP
    head: str | dict = 'LinearClsHead'
    size: int = 64

    @property
    def config(self) -> dict:
        """Make the config of an ImageClassifier."""
        head = dict(type=self.head) if isinstance(self.head, str) else self.head
        if head['type'] != 'ClsHead':
            head = dict(head, in_channels=self.width, num_classes=NUM_CLASSES)
        return dict(type='ImageClassifier', backbone=self.backbone, neck=self.neck, head=head, _scope_='mmpretrain')


def cnn(type: str, width: int, size: int = 64, **options: Any) -> Specimen:
    """A network that gives maps, pooled by the neck."""
    return Specimen(dict(type=type, **options), width, size=size)


def flat(type: str, width: int, size: int = 64, head: str | dict = 'LinearClsHead', **options: Any) -> Specimen:
    """A network that gives pooled features or class tokens."""
    return Specimen(dict(type=type, **options), width, None, head, size)


def vit(type: str, width: int = 32, head: str = 'VisionTransformerClsHead', **options: Any) -> Specimen:
    """A kin of ViT."""
    return flat(type, width, 64, head, **dict(arch=TINY_VIT, img_size=64, **options))


PYRAMID = dict(
    embed_dims=[8, 16, 24, 32],
    depths=[1, 2, 1, 1],
    num_heads=[1, 2, 2, 4],
    patch_sizes=[4, 2, 2, 2],
    strides=[4, 2, 2, 2],
    mlp_ratios=[2, 2, 2, 2],
    sr_ratios=[8, 4, 2, 1],
)
POOLED = dict(layers=[1, 1, 2, 1], embed_dims=[8, 16, 24, 32])
RESNET = dict(depth=50, stem_channels=8, base_channels=8)


def efficientformer(distillation: bool) -> Specimen:
    backbone = dict(type='EfficientFormer', arch=dict(POOLED, downsamples=[False, True, True, True], vit_num=1))
    head = dict(type='EfficientFormerClsHead', distillation=distillation)
    return Specimen(backbone, 32, dict(GAP, dim=1), head, 224)


def levit(distillation: bool) -> Specimen:
    backbone = dict(type='LeViT', arch='128s', img_size=96)
    return Specimen(backbone, 384, GAP, dict(type='LeViTClsHead', distillation=distillation), 96)


TEACHERS_ONLY = ('EfficientFormer_distilled', 'LeViT_distilled')
"""MMPretrain does not train these heads."""

SPECIMENS: dict[str, Specimen] = dict(
    AlexNet=cnn('AlexNet', 256, 96),
    BEiTViT=vit('BEiTViT', head='LinearClsHead', use_shared_rel_pos_bias=True, use_rel_pos_bias=False),
    BEiTViT_window=vit('BEiTViT', head='LinearClsHead'),
    Conformer=flat(
        'Conformer',
        [64, 32],
        96,
        'ConformerHead',
        arch=dict(embed_dims=32, channel_ratio=0.25, num_heads=2, depths=12),
    ),
    ConvMixer=cnn('ConvMixer', 16, arch=dict(embed_dims=16, depth=5, patch_size=7, kernel_size=3)),
    ConvNeXt=flat('ConvNeXt', 32, arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32])),
    ConvNeXtV2=cnn(
        'ConvNeXt',
        32,
        arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32]),
        use_grn=True,
        layer_scale_init_value=0.0,
        gap_before_final_norm=False,
    ),
    CSPDarkNet=cnn('CSPDarkNet', 1024, depth=53),
    CSPResNet=cnn('CSPResNet', 1024, depth=50),
    CSPResNeXt=cnn('CSPResNeXt', 2048, depth=50),
    DaViT=cnn('DaViT', 64, arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4]), pad_small_map=True),
    DeiT3=vit('DeiT3'),
    DenseNet=cnn('DenseNet', 40, arch=dict(growth_rate=8, depths=[2, 2, 4, 2], init_channels=16)),
    DistilledVisionTransformer=vit('DistilledVisionTransformer', head='DeiTClsHead'),
    EdgeNeXt=flat('EdgeNeXt', 48, arch=dict(channels=[8, 16, 32, 48], depths=[1, 2, 2, 2], num_heads=[4, 4, 4, 4])),
    EfficientFormer=efficientformer(distillation=False),
    EfficientFormer_distilled=efficientformer(distillation=True),
    EfficientNet=cnn('EfficientNet', 1280, arch='b0'),
    EfficientNet_edge=cnn('EfficientNet', 1280, arch='es'),
    EfficientNetV2=cnn('EfficientNetV2', 1280, arch='b0'),
    HiViT=cnn('HiViT', 32, arch=dict(embed_dims=32, depths=[1, 1, 8], num_heads=2), img_size=64, rpe=True),
    HorNet=flat(
        'HorNet',
        128,
        arch=dict(base_dim=16, depths=[1, 1, 2, 1], orders=[2, 3, 4, 5], dw_cfg=[dict(type='DW', kernel_size=7)] * 4),
    ),
    HorNet_gf=flat(
        'HorNet',
        128,
        arch=dict(
            base_dim=16,
            depths=[1, 1, 2, 1],
            orders=[2, 3, 4, 5],
            dw_cfg=[dict(type='DW', kernel_size=7)] * 2 + [dict(type='GF', h=14, w=8), dict(type='GF', h=7, w=4)],
        ),
        size=224,
    ),
    HRNet=Specimen(
        dict(
            type='HRNet',
            extra={
                f'stage{i}': dict(
                    num_modules=1,
                    num_branches=i,
                    block='BOTTLENECK' if i == 1 else 'BASIC',
                    num_blocks=(1,) * i,
                    num_channels=(8, 16, 24, 32)[:i],
                )
                for i in (1, 2, 3, 4)
            },
        ),
        2048,
        [dict(type='HRFuseScales', in_channels=(8, 16, 24, 32)), GAP],
    ),
    InceptionV3=flat('InceptionV3', 2048, 96, 'ClsHead', num_classes=NUM_CLASSES),
    LeViT=levit(distillation=False),
    LeViT_distilled=levit(distillation=True),
    MixMIMTransformer=flat(
        'MixMIMTransformer',
        64,
        arch=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4]),
        img_size=64,
        window_size=[4, 4, 4, 2],
    ),
    MlpMixer=Specimen(
        dict(
            type='MlpMixer',
            arch=dict(embed_dims=32, num_layers=4, tokens_mlp_dims=16, channels_mlp_dims=64),
            img_size=64,
        ),
        32,
        dict(GAP, dim=1),
    ),
    MobileNetV2=cnn('MobileNetV2', 1280, widen_factor=0.25),
    MobileNetV3=Specimen(
        dict(type='MobileNetV3', arch='small_050'),
        288,
        GAP,
        dict(type='StackedLinearClsHead', mid_channels=[64], act_cfg=dict(type='HSwish')),
    ),
    MobileOne=cnn(
        'MobileOne',
        256,
        arch=dict(
            num_blocks=[1, 2, 2, 1],
            width_factor=[0.25, 0.25, 0.25, 0.5],
            num_conv_branches=[1, 1, 1, 1],
            num_se_blocks=[0, 0, 1, 1],
        ),
    ),
    MobileViT=cnn('MobileViT', 320, arch='xx_small'),
    MViT=cnn(
        'MViT',
        64,
        arch=dict(embed_dims=8, num_layers=5, num_heads=1, downscale_indices=[1, 2, 4]),
        img_size=64,
    ),
    PCPVT=cnn('PCPVT', 32, arch=PYRAMID, norm_after_stage=[False, False, False, True]),
    PoolFormer=cnn('PoolFormer', 32, arch=POOLED),
    PyramidVig=Specimen(
        dict(type='PyramidVig', arch='tiny', k=9), 384, GAP, dict(type='VigClsHead', hidden_dim=64), 224
    ),
    RegNet=cnn('RegNet', 128, arch=dict(w0=16, wa=16.0, wm=2.0, group_w=8, depth=6, bot_mul=1.0)),
    RepLKNet=cnn(
        'RepLKNet',
        32,
        arch=dict(
            large_kernel_sizes=[7, 7, 5, 5], layers=[1, 1, 2, 1], channels=[8, 16, 24, 32], small_kernel=3, dw_ratio=1
        ),
    ),
    RepMLPNet=cnn(
        'RepMLPNet',
        32,
        arch=dict(channels=[8, 16, 24, 32], depths=[1, 1, 1, 1], sharesets_nums=[1, 2, 4, 8]),
        img_size=64,
        reparam_conv_kernels=(1, 3),
    ),
    RepVGG=cnn('RepVGG', 160, base_channels=8, arch='A0'),
    Res2Net=cnn('Res2Net', 256, **dict(RESNET, scales=4, base_width=26)),
    ResNeSt=cnn('ResNeSt', 256, **RESNET),
    ResNet=cnn('ResNet', 64, depth=18, stem_channels=8, base_channels=8),
    ResNet_CIFAR=cnn('ResNet_CIFAR', 64, 32, depth=18, stem_channels=8, base_channels=8),
    ResNetV1c=cnn('ResNetV1c', 256, **RESNET),
    ResNetV1d=cnn('ResNetV1d', 256, **RESNET),
    ResNeXt=cnn('ResNeXt', 256, **dict(RESNET, groups=4, width_per_group=4)),
    RevVisionTransformer=vit('RevVisionTransformer', 64, 'LinearClsHead', no_custom_backward=True),
    RIFormer=cnn('RIFormer', 32, arch=POOLED),
    SEResNet=cnn('SEResNet', 256, **RESNET),
    SEResNeXt=cnn('SEResNeXt', 256, **dict(RESNET, groups=4, width_per_group=4)),
    ShuffleNetV1=cnn('ShuffleNetV1', 200, groups=2, widen_factor=0.25),
    ShuffleNetV2=cnn('ShuffleNetV2', 1024, widen_factor=0.5),
    SVT=cnn('SVT', 32, arch=dict(PYRAMID, window_sizes=[4, 4, 2, 2])),
    SwinTransformer=cnn(
        'SwinTransformer',
        64,
        arch=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4]),
        img_size=64,
        pad_small_map=True,
    ),
    SwinTransformerV2=cnn(
        'SwinTransformerV2',
        64,
        arch=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4], extra_norm_every_n_blocks=0),
        img_size=64,
        window_size=4,
        pad_small_map=True,
    ),
    T2T_ViT=flat(
        'T2T_ViT',
        24,
        head='VisionTransformerClsHead',
        embed_dims=24,
        num_layers=4,
        img_size=64,
        t2t_cfg=dict(token_dims=8),
    ),
    TinyViT=flat(
        'TinyViT',
        32,
        arch=dict(channels=[8, 16, 24, 32], num_heads=[1, 2, 3, 4], depths=[1, 1, 2, 1]),
        img_size=(64, 64),
    ),
    TNT=flat(
        'TNT',
        32,
        arch=dict(embed_dims_outer=32, embed_dims_inner=8, num_layers=4, num_heads_inner=2, num_heads_outer=2),
        img_size=64,
    ),
    VAN=cnn('VAN', 32, arch=dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1], ffn_ratios=[2, 2, 2, 2])),
    VGG=cnn('VGG', 512, depth=11, norm_cfg=dict(type='BN')),
    Vig=Specimen(dict(type='Vig', arch='tiny', k=9), 192, GAP, dict(type='VigClsHead', hidden_dim=64), 224),
    VisionTransformer=vit('VisionTransformer'),
    VisionTransformer_pooled=vit(
        'VisionTransformer', head='LinearClsHead', out_type='avg_featmap', with_cls_token=False, final_norm=False
    ),
    ViTEVA02=vit('ViTEVA02'),
    ViTSAM=cnn('ViTSAM', 16, arch=dict(TINY_VIT, global_attn_indexes=[1, 3]), img_size=64, out_channels=16),
    XCiT=flat('XCiT', 32, embed_dims=32, depth=4, num_heads=2, cls_attn_layers=2, patch_size=16, img_size=64),
)


@cache
def _built(name: str, size: int | None) -> nn.Module:
    config = SPECIMENS[name].config
    given = config['backbone'].get('img_size')
    if size and given:
        config['backbone'] = dict(config['backbone'], img_size=(size, size) if isinstance(given, tuple) else size)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.no_grad():
        model = MODELS.build(config)
        for parameter in model.parameters():
            if parameter.dim() and not parameter.any():  # what starts as 0 (class tokens, say) would hide mistakes
                parameter.normal_(std=0.02)
    model._is_init = True
    return model


def classifier(name: str, size: int | None = None) -> nn.Module:
    """Build one of the tiny models; each call gives a new copy with the same weights.

    Args:
        name (str): One of ``SPECIMENS``.
        size (int, optional): Side of the images, for one that can be built for others. Defaults to the smallest.
    """
    return deepcopy(_built(name, size))
