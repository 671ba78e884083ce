"""ExitBranch: from a stage of the student to logits, where networks of any family compare.

Source: One-for-All, NeurIPS 2023, arXiv 2310.19444, Sec. 3: features of a CNN pass through separable convolutions,
those of attention and MLP students through transformer blocks. The layers are those of the authors' released code.
"""

from __future__ import annotations

import math

from mmcv.cnn import DepthwiseSeparableConvModule
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import PatchMerging
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..stages import FAMILIES
from ..utils import Grid

INIT = [dict(type='Kaiming', layer='Conv2d'), dict(type='TruncNormal', layer='Linear', std=0.02)]


@MODELS.register_module()
class ExitBranch(BaseConnector):
    """An early exit of the student; it is used in training alone.

    Of a CNN: for each stage that is left, a block of separable convolutions that halves the map and doubles the width,
    the last of them giving the wider of the two networks' feature widths; after the last stage a 1x1 convolution to
    that width. Then pooling and a linear layer.

    Of an attention or MLP network: patch merging down to ``final_grid``, then as many transformer blocks as there are
    stages left (one after the last), as wide as the student's feature; then the mean of all patches and a linear layer.

    Args:
        in_channels (int): Width of the stage. ``PairDistiller`` fills in all that has no default.
        in_grid (tuple): Its height and width.
        num_classes (int): Number of logits.
        feature_dims (tuple): Widths of the pooled features of student and teacher.
        family (str): ``'cnn'``, ``'attention'`` or ``'mlp'``, the student's.
        stage (int): Number of the stage, 1 to 4.
        final_grid (int): Patches a side after merging, for attention and MLP. Defaults to 7, the authors'.
        num_heads (int): Heads of a transformer block, at most. Defaults to 4, the authors'.

    Raises:
        ValueError: If ``family`` is none of the three.
    """

    def __init__(
        self,
        in_channels: int,
        in_grid: Grid,
        num_classes: int,
        feature_dims: tuple[int, int],
        family: str,
        stage: int,
        final_grid: int = 7,
        num_heads: int = 4,
    ) -> None:
        super().__init__(init_cfg=INIT)
        if family not in FAMILIES:
            raise ValueError(f'ExitBranch: family={family!r}, but valid are {", ".join(FAMILIES)}')
        if family == 'cnn':
            width = max(feature_dims)
            self.body = conv_body(in_channels, width, 4 - stage)
        else:
            width = feature_dims[0]
            merges = max(0, int(math.log2(min(in_grid) / final_grid)))
            self.body = TokenBody(in_channels, width, merges, max(1, 4 - stage), num_heads)
        self.fc = nn.Linear(width, num_classes)

    def forward_train(self, feature: Tensor) -> Tensor:
        """Output of the stage as a map ``(B, C, H, W)`` to logits ``(B, num_classes)``."""
        return self.fc(self.body(feature))


def conv_body(in_channels: int, width: int, halvings: int) -> nn.Sequential:
    """Map ``(B, in_channels, H, W)`` to pooled feature ``(B, width)``."""

    layers: list[nn.Module] = [] if halvings else [nn.Conv2d(in_channels, width, 1)]
    for left in reversed(range(halvings)):
        channels = 2 * in_channels if left else width
        layers += [separable(in_channels, in_channels, stride=2), separable(in_channels, channels, stride=1)]
        in_channels = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def separable(in_channels: int, out_channels: int, stride: int) -> DepthwiseSeparableConvModule:
    """A 3x3 convolution of each channel, then a 1x1 convolution, batch norm and ReLU."""
    return DepthwiseSeparableConvModule(
        in_channels,
        out_channels,
        3,
        stride=stride,
        padding=1,
        bias=False,
        norm_cfg=dict(type='BN'),
        dw_norm_cfg=None,
        dw_act_cfg=None,
    )


class TokenBody(nn.Module):
    """Map ``(B, in_channels, H, W)`` to pooled feature ``(B, width)``, through patch merging and transformer blocks."""

    def __init__(self, in_channels: int, width: int, merges: int, blocks: int, num_heads: int) -> None:
        super().__init__()
        # Without merging, and the width being another, a linear layer takes its place.
        self.embed = nn.Identity() if merges or in_channels == width else nn.Linear(in_channels, width)
        self.merges = nn.ModuleList(PatchMerging(width if i else in_channels, width) for i in range(merges))
        self.act = nn.GELU()
        num_heads = max(heads for heads in range(1, num_heads + 1) if width % heads == 0)
        self.blocks = nn.Sequential(
            *(TransformerEncoderLayer(width, num_heads, 4 * width, qkv_bias=False) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        grid = tuple(x.shape[-2:])
        x = self.embed(x.flatten(2).transpose(1, 2))  # BxNxC
        for i, merge in enumerate(self.merges):
            x, grid = merge(x, grid)
            x = self.act(x) if i == 0 or i + 1 < len(self.merges) else x
        return self.blocks(x).mean(dim=1)
