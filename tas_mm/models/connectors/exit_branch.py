"""ExitBranch: from a stage of the student to logits, which networks of any family can compare.

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
    """An early exit of the student, used in training only.

    For a CNN: one block of separable convolutions for each remaining stage, which halves the map and doubles the width.
    The last block gives the wider of the two networks' feature widths. After the last stage it is a 1x1 convolution to
    that width. Then pooling and a linear layer.

    For an attention or MLP network: patch merging down to ``final_grid``, then one transformer block for each remaining
    stage (at least one), as wide as the student's feature. Then the mean over all patches and a linear layer.

    Args:
        in_channels (int): Width of the stage. ``PairDistiller`` infers all arguments without a default.
        in_grid (tuple): Height and width of the stage.
        num_classes (int): Number of logits.
        feature_dims (tuple): Widths of the pooled features of student and teacher.
        family (str): The student's family: ``'cnn'``, ``'attention'`` or ``'mlp'``.
        stage (int): Number of the stage, 1 to 4.
        final_grid (int): Patches per side after merging, for attention and MLP. Defaults to 7, as in the authors' code.
        num_heads (int): Largest number of heads of a transformer block. Defaults to 4, as in the authors' code.

    Raises:
        ValueError: If ``family`` is not one of the three.

    Examples:
        >>> import torch
        >>> from tas_mm.models import ExitBranch
        >>> branch = ExitBranch(128, (28, 28), num_classes=10, feature_dims=(512, 192), family='cnn', stage=2)
        >>> branch.forward_train(torch.zeros(2, 128, 28, 28)).shape
        torch.Size([2, 10])
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
            raise ValueError(f'ExitBranch: family={family!r}. Expected one of {", ".join(FAMILIES)}')
        if family == 'cnn':
            width = max(feature_dims)
            self.body = conv_body(in_channels, width, 4 - stage)
        else:
            width = feature_dims[0]
            merges = max(0, int(math.log2(min(in_grid) / final_grid)))
            self.body = TokenBody(in_channels, width, merges, max(1, 4 - stage), num_heads)
        self.fc = nn.Linear(width, num_classes)

    def forward_train(self, feature: Tensor) -> Tensor:
        """Turn the stage's output, a map ``(B, C, H, W)``, into logits ``(B, num_classes)``."""
        return self.fc(self.body(feature))


def conv_body(in_channels: int, width: int, halvings: int) -> nn.Sequential:
    """Build the layers from a map ``(B, in_channels, H, W)`` to a pooled feature ``(B, width)``."""
    layers: list[nn.Module] = [] if halvings else [nn.Conv2d(in_channels, width, 1)]
    for left in reversed(range(halvings)):
        channels = 2 * in_channels if left else width
        layers += [separable(in_channels, in_channels, stride=2), separable(in_channels, channels, stride=1)]
        in_channels = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def separable(in_channels: int, out_channels: int, stride: int) -> DepthwiseSeparableConvModule:
    """Build a 3x3 convolution of each channel, then a 1x1 convolution, batch norm and ReLU."""
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
    """Layers from a map ``(B, in_channels, H, W)`` to a pooled feature ``(B, width)``: patch merging, then blocks."""

    def __init__(self, in_channels: int, width: int, merges: int, blocks: int, num_heads: int) -> None:
        super().__init__()
        # Without merging, a linear layer changes the width if needed.
        self.embed = nn.Identity() if merges or in_channels == width else nn.Linear(in_channels, width)
        self.merges = nn.ModuleList(PatchMerging(width if i else in_channels, width) for i in range(merges))
        self.act = nn.GELU()
        num_heads = max(heads for heads in range(1, num_heads + 1) if width % heads == 0)
        self.blocks = nn.Sequential(
            *(TransformerEncoderLayer(width, num_heads, 4 * width, qkv_bias=False) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output."""
        grid = tuple(x.shape[-2:])
        x = self.embed(x.flatten(2).transpose(1, 2))  # BxNxC
        for i, merge in enumerate(self.merges):
            x, grid = merge(x, grid)
            x = self.act(x) if i == 0 or i + 1 < len(self.merges) else x
        return self.blocks(x).mean(dim=1)
