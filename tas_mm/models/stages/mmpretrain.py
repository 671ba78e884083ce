"""Table of where MMPretrain's backbones are cut.

Stages have strides 4, 8, 16 and 32 where the network allows. The stem belongs to the first stage. A module that shrinks
the map between two stages ends the first of them. The paper's backbones, and convolutional ones that detectors use,
have a :class:`Chain`. The forward of all others is replayed.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..utils import Grid
from .chain import Chain
from .registry import Cut, cut_blocks, register_cut

Stages = list[str] | list[list[str]]


def listed(net: nn.Module, name: str) -> list[str]:
    """Return the names of the modules in a list, or the list itself if it has names."""
    return [m if isinstance(m, str) else f'{name}.{i}' for i, m in enumerate(getattr(net, name))]


def last_four(net: nn.Module) -> Stages:
    """Merge the first of more than four stages into one."""
    *first, second, third, fourth = listed(net, 'stages')
    return [first, [second], [third], [fourth]]


def at_halvings(net: nn.Module) -> Stages:
    """Cut a list of modules before each of the last three modules that halve the map."""

    def halves(name: str) -> bool:
        layers = (m for m in net.get_submodule(name).modules() if isinstance(m, (nn.Conv2d, nn.MaxPool2d)))
        return any(layer.stride in (2, (2, 2)) for layer in layers)

    names = listed(net, 'layers')
    ends = [0, *[i for i, name in enumerate(names) if halves(name)][-3:], len(names)]
    return [names[a:b] for a, b in zip(ends, ends[1:])]


def hivit(net: nn.Module) -> Stages:
    """Cut the main blocks, with attention, in two: three quarters for stage 3."""
    first, second, main = net.depths
    merged, end = 2 * (first + second) + 1, 2 * (first + second) + 1 + main
    return [[f'blocks.{i}'] for i in (2 * first, merged, end - max(1, round(main / 4)), end)]


def levit(net: nn.Module) -> Stages:
    """Cut the first of LeViT's three stages in two, between an MLP and an attention block."""
    ends = [f'stages.{i}.{len(stage) - 1}' for i, stage in enumerate(net.stages)]
    return [f'stages.0.{len(net.stages[0]) // 4 * 2 - 1}', *ends]


def mvit(net: nn.Module) -> Stages:
    """Cut MViT where it scales down."""
    if len(net.downscale_indices) != 3 or net.out_scales != [3]:
        raise ValueError(
            f'MViT with downscale_indices={net.downscale_indices} and out_scales={net.out_scales}. Expected 3 indices, '
            'where it is cut, and out_scales [3] or -1, so that there is no norm in between'
        )
    return [[f'blocks.{i - 1}'] for i in (*net.downscale_indices, net.num_layers)]


def reversible(net: nn.Module) -> str:
    """Cut equal blocks, if autograd runs through them."""
    if not net.no_custom_backward:
        raise ValueError("no_custom_backward=False keeps the assistant's gradient from the blocks. Set it to True")
    return 'layers.*'


def xcit(net: nn.Module) -> Stages:
    """Cut equal blocks. The class token and its attention layers come last, so they belong to the fourth stage."""
    ends = [f'xca_layers.{blocks[-1]}' for blocks in cut_blocks(len(net.xca_layers))]
    return [*ends[:3], f'ca_layers.{len(net.ca_layers) - 1}']


def refuse(net: nn.Module) -> Stages:
    """Raise a ValueError with the reason."""
    raise ValueError(f'{type(net).__name__} {REFUSED[type(net).__name__]}, so it cannot be cut into four stages')


def vig_size(net: nn.Module) -> Grid:
    """Return the image size that the positional embeddings of Vision GNN fit."""
    stride = 16 if net.pos_embed.size(2) == 14 else 4
    return tuple(stride * length for length in net.pos_embed.shape[2:])


def convnext_end(net: nn.Module, native: Tensor, grid: None) -> Tensor:
    """Return the norm after pooling, or only the norm."""
    early = net.gap_before_final_norm
    return net.norm3(native.mean([-2, -1], keepdim=True)).flatten(1) if early else net.norm3(native)


def vit_end(net: nn.Module, native: Tensor, grid: Grid) -> Any:
    """Apply the norm, then return the form that the network is configured for."""
    return net._format_output(net.ln1(native) if net.final_norm else native, grid)


REFUSED = dict(LeNet5='has three convolutions only')
REFUSED |= {f'Sparse{n}': f'is for masked pre-training; load its weights into a {n}' for n in ('ResNet', 'ConvNeXt')}
DOWN_FIRST = 'stages.0 | downsample_layers.1 stages.1 | downsample_layers.2 stages.2 | downsample_layers.3 stages.3'
FOUR = '{0}.0 | {0}.1 | {0}.2 | {0}.3'
MERGED = 'stages.0.downsample | stages.1.downsample | stages.2.downsample | stages.3'
INIT_SIZE = 'patch_embed.init_input_size'

SPLITS: dict[str, Any] = dict(
    AlexNet=lambda net: [[f'features.{i}' for i in r] for r in (range(3), range(3, 6), range(6, 10), range(10, 13))],
    ConvMixer='stages.*',
    DenseNet='stages.0 transitions.0 | stages.1 transitions.1 | stages.2 transitions.2 | stages.3 transitions.3',
    MobileNetV2='layer1 layer2 | layer3 | layer4 layer5 | layer6 layer7 conv2',
    RepVGG=lambda net: [[stage] for stage in net.stages[:-1]] + [[net.stages[-1], 'ppf']],
    ResNet=lambda net: net.res_layers,
    ShuffleNetV1='conv1 maxpool | layers.0 | layers.1 | layers.2',
    ShuffleNetV2='conv1 maxpool | layers.0 | layers.1 | layers.2 layers.3',
)
SPLITS |= dict(CSPNet=last_four, MobileOne=last_four)
SPLITS |= dict(EfficientNet=at_halvings, EfficientNetV2=at_halvings, MobileNetV3=at_halvings)
MAPS: dict[str, Cut] = {name: Cut(stages, 'cnn', chain=Chain()) for name, stages in SPLITS.items()}
"""Convolutional networks that return their last stage's output. Their chains also work in detectors."""

SWIN = Chain(
    'grid_tokens',
    finish=lambda net, native, grid: net.norm3(native[0]).transpose(1, 2).unflatten(2, grid),
    call=lambda stage, native: stage(*native, do_downsample=True),
    modules=FOUR.format('stages').split(' | '),
)
VIT = Chain('tokens', vit_end, lambda net: [] if net.cls_token is None else [net.cls_token])
DISTILLED_VIT = Chain('tokens', vit_end, lambda net: [net.cls_token, net.dist_token])
MIXER = Chain('tokens', lambda net, native, grid: net.norm1(native).transpose(1, 2))

TABLE: dict[str, Cut] = MAPS | dict(
    # convolutions; VAN's attention is a convolutional gate, PoolFormer and RIFormer only pool
    ConvNeXt=Cut(DOWN_FIRST, 'cnn', chain=Chain(finish=convnext_end)),
    HorNet=Cut(DOWN_FIRST, lambda net: 'mlp' if net.arch_settings['dw_cfg'][3]['type'] == 'GF' else 'cnn'),
    HRNet=Cut('layer1 | stage2 | stage3 | stage4', 'cnn'),
    InceptionV3=Cut('maxpool1 | Mixed_5d | Mixed_6e | Mixed_7c', 'cnn', classifier='fc'),
    RepLKNet=Cut('transitions.0 | transitions.1 | transitions.2 | stages.3', 'cnn'),
    **dict.fromkeys(('PoolFormer', 'RIFormer'), Cut('network.1 | network.3 | network.5 | network.6', 'cnn')),
    VAN=Cut('norm1 | norm2 | norm3 | norm4', 'cnn'),
    VGG=Cut(
        lambda n: [f'features.{a} features.{b - 1}' for a, b in n.range_sub_modules[-4:]],
        'cnn',
        classifier='classifier',
        takes_view=True,
    ),
    # attention in equal blocks; Vision GNN attends to the nearest neighbors in feature space
    **dict.fromkeys(('BEiTViT', 'ViTEVA02', 'ViTSAM'), Cut('layers.*', 'attention', 'img_size')),
    DistilledVisionTransformer=Cut('layers.*', 'attention', 'img_size', chain=DISTILLED_VIT),
    RevVisionTransformer=Cut(reversible, 'attention', 'img_size'),
    T2T_ViT=Cut('encoder.*', 'attention', lambda net: tuple(16 * n for n in net.patch_resolution)),
    TNT=Cut('layers.*', 'attention', 'pixel_embed.img_size'),
    Vig=Cut('blocks.*', 'attention', vig_size),
    VisionTransformer=Cut('layers.*', 'attention', 'img_size', chain=VIT),
    XCiT=Cut(xcit, 'attention'),
    # pyramids and hybrids with attention
    Conformer=Cut(lambda net: [f'conv_trans_{int(net.depths // 3 * i)}' for i in (1, 2, 2.5, 3)], 'attention'),
    DaViT=Cut(MERGED, 'attention', INIT_SIZE),
    EdgeNeXt=Cut(DOWN_FIRST, 'attention'),
    EfficientFormer=Cut(FOUR.format('network'), lambda net: 'attention' if net.vit_num else 'cnn'),
    HiViT=Cut(hivit, 'attention', 'patch_embed.img_size'),
    LeViT=Cut(levit, 'attention', lambda net: (16 * net.resolutions[0],) * 2),
    MixMIMTransformer=Cut(FOUR.format('layers'), 'attention', lambda net: tuple(4 * n for n in net.patch_resolution)),
    MobileViT=Cut('layers.1 | layers.2 | layers.3 | layers.4 conv_1x1_exp', 'attention'),
    MViT=Cut(mvit, 'attention', INIT_SIZE),
    PCPVT=Cut(lambda net: [f'stages.{i} norm_after_stage{i}' for i in range(net.num_stage)], 'attention'),
    PyramidVig=Cut(FOUR.format('stages'), 'attention', vig_size),
    SwinTransformer=Cut(MERGED, 'attention', INIT_SIZE, chain=SWIN),
    SwinTransformerV2=Cut(FOUR.format('stages'), 'attention', INIT_SIZE),
    TinyViT=Cut(FOUR.format('stages'), 'attention', 'img_size'),
    # linear layers over positions
    MlpMixer=Cut('layers.*', 'mlp', 'img_size', chain=MIXER),
    RepMLPNet=Cut('downsample_layers.0 | downsample_layers.1 | downsample_layers.2 | stages.3', 'mlp', 'img_size'),
    **dict.fromkeys(REFUSED, Cut(refuse)),
)

for _name, _cut in TABLE.items():
    register_cut(f'mmpretrain.{_name}', **vars(_cut))
