"""Projectors between the early and the late part of the assistant: its only new parameters.

Source: TAS, arXiv 2410.12342. The local-to-global projector (L2G) is a patch embedding and one Swin block. The paper
does not say what pairs of one kind use; the other projectors are our choice. Input and output are maps
``(B, C, H, W)``. The output has the grid that the projector was built for, so the late part gets the number of tokens
that it expects. With ``any_size``, for detectors, the output grid follows the input's.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.model import BaseModule, ModuleList
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..utils import Grid

LINEAR_INIT = [
    dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.0),
    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
]


def patch_of(in_grid: Grid, out_grid: Grid) -> Grid:
    """Return the height and width, in cells of the input, of the patch that becomes one cell of the output."""
    return max(1, in_grid[0] // out_grid[0]), max(1, in_grid[1] // out_grid[1])


def window_for(grid: Grid, limit: int) -> int:
    """Return the window size, from half the limit to the limit, with the least padding. Prefer the larger one."""
    sizes = range(min(limit, *grid), (min(limit, *grid) + 1) // 2 - 1, -1)
    return min(sizes, key=lambda size: math.prod(math.ceil(side / size) * size for side in grid))


class GridProjector(BaseModule):
    """Base of the projectors, from a map of one grid and width to a map of another.

    Args:
        in_channels (int): Width of the early part's output.
        out_channels (int): Width that the late part expects.
        in_grid (tuple): Height and width of the early part's output.
        out_grid (tuple): Height and width that the late part expects.
        any_size (bool): Whether the output grid follows the size of the input. Defaults to False: always ``out_grid``.
        init_cfg (dict | list, optional): As in MMEngine. Defaults to None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_grid: Grid,
        out_grid: Grid,
        any_size: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_grid, self.out_grid = in_grid, out_grid
        self.any_size = any_size

    def grid_of(self, x: Tensor) -> Grid:
        """Return the output grid. With ``any_size``, the input size scaled by ``out_grid / in_grid``, rounded up."""
        if not self.any_size:
            return self.out_grid
        return tuple(-(-side * o // i) for side, i, o in zip(x.shape[-2:], self.in_grid, self.out_grid))


def fit(x: Tensor, grid: Grid) -> Tensor:
    """Resize a map to a grid, if it has another one (grids that do not divide, images of another size)."""
    return x if x.shape[-2:] == grid else F.interpolate(x, grid, mode='bilinear', align_corners=False)


@MODELS.register_module()
class L2GProjector(GridProjector):
    """Local-to-global projector: a patch embedding, then Swin blocks with attention inside windows.

    Args:
        in_channels (int): Width of the early part's output.
        out_channels (int): Width that the late part expects.
        in_grid (tuple): Height and width of the early part's output.
        out_grid (tuple): Height and width that the late part expects.
        num_blocks (int): Number of Swin blocks, every second one shifted. 0 removes the attention (the paper's
            ablation A). Defaults to 1, the paper's.
        window_size (int): Largest side of an attention window. It is smaller where that saves padding. Defaults to 7.
        head_dim (int): Largest width of an attention head. Defaults to 32, Swin's.
        ffn_ratio (float): Width of the MLP divided by the width of the block. Defaults to 4.
        width_ratio (float): Width of patch embedding and blocks divided by ``out_channels``. If it is not 1, a linear
            layer follows. The number of parameters grows with its square. Defaults to 1, the paper's.
        any_size (bool): Whether the output grid follows the size of the input. Defaults to False.

    Raises:
        ValueError: If ``num_blocks`` is negative or ``width_ratio`` is not positive.

    Examples:
        >>> import torch
        >>> from tas_mm.models import L2GProjector
        >>> projector = L2GProjector(256, 768, in_grid=(14, 14), out_grid=(7, 7))
        >>> projector(torch.zeros(1, 256, 14, 14)).shape
        torch.Size([1, 768, 7, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_grid: Grid,
        out_grid: Grid,
        num_blocks: int = 1,
        window_size: int = 7,
        head_dim: int = 32,
        ffn_ratio: float = 4.0,
        width_ratio: float = 1.0,
        any_size: bool = False,
    ) -> None:
        # Swin's 0.02 would make the wide output much smaller than the late part's usual input.
        init_cfg = [*LINEAR_INIT, dict(type='Xavier', override=dict(name='expand'))]
        super().__init__(in_channels, out_channels, in_grid, out_grid, any_size, init_cfg)
        if num_blocks < 0:
            raise ValueError(f'L2GProjector: num_blocks={num_blocks}. Expected at least 0')
        if width_ratio <= 0:
            raise ValueError(f'L2GProjector: width_ratio={width_ratio}. Expected a positive number')
        width = max(1, round(width_ratio * out_channels))
        patch = patch_of(in_grid, out_grid)
        self.embed = nn.Conv2d(in_channels, width, patch, patch)
        self.norm = build_norm_layer(dict(type='LN'), width)[1]
        heads = max(1, width // head_dim)
        while width % heads:
            heads -= 1
        window = window_size if any_size else window_for(out_grid, window_size)
        padded = dict(pad_small_map=any_size)  # a map may be smaller than a window
        self.blocks = ModuleList(
            SwinBlock(width, heads, window, shift=i % 2 == 1, ffn_ratio=ffn_ratio, attn_cfgs=padded)
            for i in range(num_blocks)
        )
        self.expand = nn.Identity() if width == out_channels else nn.Linear(width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Project ``(B, in_channels, *in_grid)`` to ``(B, out_channels, *out_grid)``."""
        grid = self.grid_of(x)
        x = fit(self.embed(x), grid)
        x = self.norm(x.flatten(2).transpose(1, 2))  # BxNxC
        for block in self.blocks:
            x = block(x, grid)
        return self.expand(x).transpose(1, 2).unflatten(2, grid)


@MODELS.register_module()
class ConvProjector(GridProjector):
    """Local-to-local projector (CNN to CNN): a 1x1 convolution, strided 3x3 where the grid shrinks, and batch norm.

    Args:
        in_channels (int): Width of the early part's output.
        out_channels (int): Width that the late part expects.
        in_grid (tuple): Height and width of the early part's output.
        out_grid (tuple): Height and width that the late part expects.
        any_size (bool): Whether the output grid follows the size of the input. Defaults to False.

    Examples:
        >>> import torch
        >>> from tas_mm.models import ConvProjector
        >>> projector = ConvProjector(256, 512, in_grid=(14, 14), out_grid=(7, 7))
        >>> projector(torch.zeros(2, 256, 14, 14)).shape
        torch.Size([2, 512, 7, 7])
    """

    def __init__(
        self, in_channels: int, out_channels: int, in_grid: Grid, out_grid: Grid, any_size: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, in_grid, out_grid, any_size)
        stride = patch_of(in_grid, out_grid)
        kernel = tuple(1 if s == 1 else s + 1 for s in stride)
        padding = tuple(k // 2 for k in kernel)
        norm = dict(type='BN')
        self.conv = ConvModule(in_channels, out_channels, kernel, stride, padding, norm_cfg=norm, act_cfg=None)

    def forward(self, x: Tensor) -> Tensor:
        """Project ``(B, in_channels, *in_grid)`` to ``(B, out_channels, *out_grid)``."""
        return fit(self.conv(x), self.grid_of(x))


@MODELS.register_module()
class LinearProjector(GridProjector):
    """Global-to-global projector (attention or MLP to attention or MLP): average to the new grid, then a linear layer.

    Args:
        in_channels (int): Width of the early part's output.
        out_channels (int): Width that the late part expects.
        in_grid (tuple): Height and width of the early part's output.
        out_grid (tuple): Height and width that the late part expects.
        any_size (bool): Whether the output grid follows the size of the input. Defaults to False.

    Examples:
        >>> import torch
        >>> from tas_mm.models import LinearProjector
        >>> projector = LinearProjector(192, 768, in_grid=(14, 14), out_grid=(7, 7))
        >>> projector(torch.zeros(1, 192, 14, 14)).shape
        torch.Size([1, 768, 7, 7])
    """

    def __init__(
        self, in_channels: int, out_channels: int, in_grid: Grid, out_grid: Grid, any_size: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, in_grid, out_grid, any_size, LINEAR_INIT)
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Project ``(B, in_channels, *in_grid)`` to ``(B, out_channels, *out_grid)``."""
        grid = self.grid_of(x)
        if x.shape[-2:] != grid:
            x = F.adaptive_avg_pool2d(x, grid)
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
