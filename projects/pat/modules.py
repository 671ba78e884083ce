"""Networks that PAT trains beside the student: region-aware attention, adapters and feedback prompts."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import SELayer
from torch import Tensor, nn

from tas_mm.models.stages import Stage
from tas_mm.models.utils import Grid


class RegionAwareAttention(nn.Module):
    """Attention between the regions of all stages, each stage seen as one grid of regions.

    Args:
        stages (sequence): The stages, with their channels and grids.
        side (int): Regions along each side of a stage.
        dim (int): Width of the attention.
        num_heads (int): Number of heads.
    """

    def __init__(self, stages: Sequence[Stage], side: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.patches = [tuple(math.ceil(length / side) for length in stage.grid) for stage in stages]
        self.embeds = nn.ModuleList(
            nn.Conv2d(stage.channels, dim, patch, stride=patch) for stage, patch in zip(stages, self.patches)
        )
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.side = side
        self.num_heads = num_heads
        self.register_buffer('positions', sinusoids(len(self.patches) * side**2, dim), persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn maps ``(B, C, H, W)`` of the stages into as many maps ``(B, dim, side, side)``."""
        regions = [self._embed(x, i) for i, x in enumerate(maps)]  # of each stage BxNxC
        q, k, v = self.to_qkv(self.norm(torch.cat(regions, dim=1))).chunk(3, dim=2)
        q, k, v = (
            x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (q + self.positions, k + self.positions, v)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        grid = (self.side, self.side)
        return [x.transpose(1, 2).unflatten(2, grid) for x in attended.split(self.side**2, dim=1)]

    def _embed(self, x: Tensor, stage: int) -> Tensor:
        size = tuple(self.side * length for length in self.patches[stage])
        x = x if x.shape[-2:] == size else F.interpolate(x, size)
        return self.embeds[stage](x).flatten(2).transpose(1, 2)


class MapAdapter(nn.Module):
    """Adapter from a map to another width and grid, for a CNN: nearest pixels, batch norm and a 1x1 convolution."""

    def __init__(self, in_channels: int, in_grid: Grid, out_channels: int, out_grid: Grid) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.grid = out_grid
        nn.init.kaiming_normal_(self.conv.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``(B, in_channels, *in_grid)`` into ``(B, out_channels, *out_grid)``."""
        return self.conv(self.norm(F.interpolate(x, self.grid)))


class TokenAdapter(nn.Module):
    """Adapter from a map to another width and grid, for tokens: linear over channels, then over positions."""

    def __init__(self, in_channels: int, in_grid: Grid, out_channels: int, out_grid: Grid) -> None:
        super().__init__()
        self.channels = nn.Sequential(
            OrderedDict(norm=nn.BatchNorm1d(math.prod(in_grid)), linear=nn.Linear(in_channels, out_channels))
        )
        self.positions = nn.Sequential(
            OrderedDict(norm=nn.BatchNorm1d(out_channels), linear=nn.Linear(math.prod(in_grid), math.prod(out_grid)))
        )
        self.grid = out_grid
        for layer in (self.channels.linear, self.positions.linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``(B, in_channels, *in_grid)`` into ``(B, out_channels, *out_grid)``."""
        x = self.channels(x.flatten(2).transpose(1, 2)).transpose(1, 2)  # BxCxN
        return self.positions(x).unflatten(2, self.grid)


def adapter_for(family: str) -> type[MapAdapter] | type[TokenAdapter]:
    """Return the adapter that fits the maps of a family of networks."""
    return MapAdapter if family == 'cnn' else TokenAdapter


class FeedbackPrompt(nn.Module):
    """Prompt that is added to a stage of the teacher, from that stage and the student's gap in the next one.

    Its factor starts at 0, so that the prompted teacher starts as the teacher.
    """

    def __init__(self, channels: int, align: nn.Module) -> None:
        super().__init__()
        groups = math.gcd(channels, 4)
        self.align = align
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1),
            nn.Conv2d(channels, channels, 5, padding=2),
            nn.Conv2d(channels, channels, 1),
            SELayer(channels),
            nn.Conv2d(channels, channels, 1),
        )
        self.prompt = nn.Sequential(
            nn.Conv2d(channels, channels, 1, groups=groups),
            nn.Conv2d(channels, channels, 5, padding=2, groups=channels),
            nn.Conv2d(channels, channels, 1),
            SELayer(channels),
            nn.Conv2d(channels, channels, 1, groups=groups),
        )
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, gap: Tensor) -> Tensor:
        """Turn a stage ``(B, C, H, W)`` and the gap, of the next stage's shape, into a prompt ``(B, C, H, W)``."""
        return self.factor * self.prompt(self.fuse(torch.cat([x, self.align(gap)], dim=1)))


def sinusoids(length: int, dim: int) -> Tensor:
    """Encode positions as sines and cosines ``(length, dim)``: arXiv 1706.03762, Sec. 3.5."""
    rates = torch.exp(torch.arange(0, dim, 2) * -(math.log(10000.0) / dim))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
