"""Conversion between native features and maps ``(B, C, H, W)``, with a layout inferred from shapes.

A native feature is a map in NCHW or NHWC, tokens with or without class tokens before them, or several of these (paths,
resolutions, pixels inside patches). Several become one map on the coarsest grid, concatenated along the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .utils import PROBE, Grid, each_tensor, tensors

Tokens = Callable[[int, int], Tensor | None]  # (count, channels) to class tokens (1, count, channels), if there are any


class Part(NamedTuple):
    """Layout of one tensor of a native feature, as einops patterns."""

    channels: int
    grid: Grid | None  # None if the tensor has only class tokens
    native: str = 'b (h w) c'
    map: str = 'b c h w'
    sizes: dict[str, int] = {}
    prefix: int = 0  # number of class tokens before the others

    def to_map(self, x: Tensor) -> Tensor:
        """Convert the tensor to a map, without class tokens."""
        return rearrange(x[:, self.prefix :], f'{self.native} -> {self.map}', **self.sizes)

    def from_map(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Convert a map to the tensor, and add the class tokens."""
        x = rearrange(x, f'{self.map} -> {self.native}', **self.sizes)
        if self.native == 'b h w c':
            return x.contiguous()
        return torch.cat([self.class_tokens(x.mean(1), tokens).to(x), x], dim=1) if self.prefix else x

    def class_tokens(self, mean: Tensor, tokens: Tokens) -> Tensor:
        """Return class tokens ``(B, T, C)``: the network's own, or else the mean of the features, ``(B, C')``."""
        own = tokens(self.prefix, self.channels)
        if own is not None:
            return own.expand(len(mean), -1, -1)
        if mean.size(1) != self.channels:
            raise ValueError(f'class tokens have width {self.channels}, but the mean of the map has {mean.size(1)}')
        return mean.unsqueeze(1).expand(-1, self.prefix, -1)


class Layout:
    """Conversion of a stage's output to a map and back.

    Args:
        native (Any): Output of the stage for ``PROBE`` images.
        image (tuple): Height and width of the images.
        prefix (int): Number of class tokens before the others. Defaults to 0.
        channels_last (bool): Whether a map that fits both NCHW and NHWC is NHWC. Defaults to False.

    Raises:
        ValueError: If a tensor is neither a map nor tokens that fill a grid with the proportions of the image.
    """

    def __init__(self, native: Any, image: Grid, prefix: int = 0, channels_last: bool = False) -> None:
        self.native, self.image = native, image
        self.parts = [self._part(len(x) // PROBE, tuple(x.shape[1:]), prefix, channels_last) for x in tensors(native)]
        self.mapped = [part for part in self.parts if part.grid]
        if not self.mapped:
            raise ValueError('its output has no grid')
        self.grid = min((part.grid for part in self.mapped), key=prod)

    def _fills(self, height: int, width: int) -> bool:
        """Return True if a grid of this size has the proportions of the image, within one cell."""
        return height > 0 and abs(height * self.image[1] - width * self.image[0]) < max(self.image)

    def _grid(self, count: int) -> Grid | None:
        height = round((count * self.image[0] / self.image[1]) ** 0.5)
        fills = height and count % height == 0 and self._fills(height, count // height)
        return (height, count // height) if fills else None

    def _part(self, ratio: int, shape: tuple[int, ...], prefix: int, channels_last: bool) -> Part:
        if len(shape) == 3:
            first, last = self._fills(*shape[1:]), self._fills(*shape[:2])
            if last and (channels_last or not first):
                return Part(shape[2], shape[:2], 'b h w c')
            if first:
                return Part(shape[0], shape[1:], 'b c h w')
        if len(shape) in (3, 4):
            windows, window = self._grid(shape[0]), shape[1:3] if len(shape) == 4 else self._grid(shape[1])
            if windows and window:
                sizes, native = (
                    dict(zip('rsyx', windows + window)),
                    f'b (r s) {"y x" if len(shape) == 4 else "(y x)"} c',
                )
                grid = (windows[0] * window[0], windows[1] * window[1])
                return Part(shape[-1], grid, native, 'b c (r y) (s x)', sizes)
        if len(shape) == 2 and ratio > 1 and self._grid(ratio):  # pixels inside patches
            sizes = dict(zip('hwp', (*self._grid(ratio), shape[0])))
            return Part(prod(shape), self._grid(ratio), '(b h w) p c', 'b (p c) h w', sizes)
        if len(shape) == 2 and ratio == 1:
            if shape[0] <= max(prefix, 2):  # a class and a distillation token, if the network declares none
                return Part(shape[1], None, prefix=shape[0])
            for count in (prefix, 0, 1, 2):
                grid = self._grid(shape[0] - count)
                if grid:
                    return Part(shape[1], grid, sizes=dict(zip('hw', grid)), prefix=count)
            grid = self._grid(shape[1])
            if grid:
                return Part(shape[0], grid, 'b c (h w)', sizes=dict(zip('hw', grid)))
        raise ValueError(
            f'its output of shape (B{f" * {ratio}" if ratio > 1 else ""}, {", ".join(map(str, shape))}) is neither a '
            f'map nor tokens on a grid with the proportions of {self.image[0]}x{self.image[1]}'
        )

    def to_map(self, native: Any) -> Tensor:
        """Convert a native feature to a map ``(B, C, H, W)``, without class tokens."""
        found = [_resize(part.to_map(x), self.grid) for x, part in zip(tensors(native), self.parts) if part.grid]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    def from_map(self, x: Tensor, tokens: Tokens) -> Any:
        """Convert a map ``(B, C, H, W)`` to a native feature. Missing class tokens become the mean of the map."""
        pieces, parts = iter(x.split([part.channels for part in self.mapped], dim=1)), iter(self.parts)

        def make(_: Tensor) -> Tensor:
            part = next(parts)
            if part.grid is None:
                return part.class_tokens(x.mean((2, 3)), tokens)
            return part.from_map(_resize(next(pieces), part.grid), tokens)

        return each_tensor(make, self.native)


def _resize(x: Tensor, grid: Grid) -> Tensor:
    """Average to a coarser grid, repeat to a finer one. Finer and back gives the same values."""
    if x.shape[-2:] == grid:
        return x
    return F.adaptive_avg_pool2d(x, grid) if x.size(-2) > grid[0] else F.interpolate(x, grid, mode='nearest')


def own_tokens(named: Sequence[tuple[str, Tensor]], count: int, channels: int) -> Tensor | None:
    """Return a network's own class, distillation and register tokens ``(1, count, channels)``, or None."""
    fit = [(name, t) for name, t in named if 'token' in name and t.dim() == 3 and t.size(-1) == channels]
    found = [token for kind in ('cls', 'dist', 'reg') for name, token in fit if name.startswith(kind)]
    return torch.cat(found, dim=1) if found and sum(t.size(1) for t in found) == count else None
