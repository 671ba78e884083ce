"""Between what the modules of a network hand on and maps ``(B, C, H, W)``, inferred from shapes.

A native feature may be a map in NCHW or NHWC, tokens with or without class tokens in front, or a tuple or list of such
(dual paths, several resolutions, pixels inside patches). Several become one map: resized to the coarsest grid and
concatenated along the channels; on the way back they are split and resized again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import Grid, each_tensor
from .trace import BATCH, tensors

NCHW, NHWC, WINDOWS = (0, 1, 2, 3), (0, 3, 1, 2), (0, 5, 1, 3, 2, 4)
"""Dimensions of a tensor, or of one of windows ``(B, rows, columns, height, width, C)``, in the order of a map."""

Tokens = Callable[[int, int], Tensor | None]
"""(count, channels) to class tokens ``(1, count, channels)``, if there are any."""


@dataclass(frozen=True)
class Part:
    """Layout of one tensor of a native feature.

    Attributes:
        shape (tuple): Its shape without the first dimension.
        split (tuple): The same, without class tokens, with rows and columns apart; empty of class tokens alone.
        order (tuple): How the split dimensions are permuted to a map.
        prefix (int): Number of class tokens before the others.
    """

    shape: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...] = NHWC
    prefix: int = 0

    @property
    def ordered(self) -> list[int]:
        """The split dimensions in the order of a map: channels, rows, columns."""
        return [self.split[i - 1] for i in self.order[1:]]

    @property
    def grid(self) -> Grid:
        """Height and width."""
        half = len(self.split) // 2 + 1
        return prod(self.ordered[1:half]), prod(self.ordered[half:])

    def to_map(self, x: Tensor) -> Tensor:
        """Convert the tensor to a map, without class tokens."""
        x = x[:, self.prefix :].reshape(-1, *self.split).permute(self.order)
        return x.reshape(-1, self.ordered[0], *self.grid)

    def from_map(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Convert a map to the tensor, with class tokens."""
        x = x.reshape(-1, *self.ordered).permute(sorted(range(len(self.order)), key=self.order.__getitem__))
        if self.prefix:
            x = x.flatten(1, 2)
            return torch.cat([self.class_tokens(x.mean(1), tokens).to(x), x], dim=1)
        nhwc = self.order == NHWC and len(self.shape) == 3
        return (x.contiguous() if nhwc else x).reshape(-1, *self.shape)

    def class_tokens(self, mean: Tensor, tokens: Tokens) -> Tensor:
        """Return class tokens ``(B, T, C)``: the network's own, else the mean of the features, ``(B, C')``."""
        own, channels = tokens(self.prefix, self.shape[1]), self.shape[1]
        if own is not None:
            return own.expand(len(mean), -1, -1)
        if mean.size(1) != channels:
            raise ValueError(f'the network has no class token of width {channels}, and its map is {mean.size(1)} wide')
        return mean.unsqueeze(1).expand(-1, self.prefix, -1)


class Layout:
    """How a native feature becomes a map and back.

    Args:
        native: The output of a stage for ``BATCH`` images.
        image (tuple): Height and width of the images.
        prefix (int): Number of class tokens that the network declares.
        channels_last (bool): Which of the two a map is that could be either.

    Raises:
        ValueError: If a tensor is neither a map nor tokens that fill a grid with the proportions of the image.
    """

    def __init__(self, native: Any, image: Grid, prefix: int = 0, channels_last: bool = False) -> None:
        self.native, self.image = native, image
        self.parts = [self._part(len(x) // BATCH, tuple(x.shape[1:]), prefix, channels_last) for x in tensors(native)]
        self.mapped = [part for part in self.parts if part.split]
        if not self.mapped:
            raise ValueError('its output has no grid')
        self.grid = min((part.grid for part in self.mapped), key=prod)

    def _fills(self, height: int, width: int) -> bool:
        """Return whether a number of cells has the proportions of the image, within one cell."""
        return height > 0 and abs(height * self.image[1] - width * self.image[0]) < max(self.image)

    def _grid(self, count: int) -> Grid | None:
        height = round((count * self.image[0] / self.image[1]) ** 0.5)
        fills = height and count % height == 0 and self._fills(height, count // height)
        return (height, count // height) if fills else None

    def _part(self, ratio: int, shape: tuple[int, ...], prefix: int, channels_last: bool) -> Part:
        if len(shape) == 3:
            first, last = self._fills(*shape[1:]), self._fills(*shape[:2])
            if first or last:
                return Part(shape, shape, NHWC if last and (channels_last or not first) else NCHW)
        if len(shape) in (3, 4):
            windows, window = self._grid(shape[0]), shape[1:3] if len(shape) == 4 else self._grid(shape[1])
            if windows and window:
                return Part(shape, (*windows, *window, shape[-1]), WINDOWS)
        if len(shape) == 2 and ratio > 1 and self._grid(ratio):  # pixels inside patches
            return Part(shape, (*self._grid(ratio), prod(shape)))
        if len(shape) == 2 and ratio == 1:
            if shape[0] <= max(prefix, 2):  # a class and a distillation token, if the network does not say
                return Part(shape, (), prefix=shape[0])
            for count in (prefix, 0, 1, 2):
                if self._grid(shape[0] - count):
                    return Part(shape, (*self._grid(shape[0] - count), shape[1]), prefix=count)
            if self._grid(shape[1]):
                return Part(shape, (shape[0], *self._grid(shape[1])), NCHW)
        raise ValueError(
            f'its output of shape (B{f" * {ratio}" if ratio > 1 else ""}, {", ".join(map(str, shape))}) is neither a '
            f'map nor tokens on a grid with the proportions of {self.image[0]}x{self.image[1]}'
        )

    def to_map(self, native: Any) -> Tensor:
        """Convert a native feature to a map ``(B, C, H, W)``, without class tokens."""
        found = [_resize(part.to_map(x), self.grid) for x, part in zip(tensors(native), self.parts) if part.split]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    def from_map(self, x: Tensor, tokens: Tokens) -> Any:
        """Convert a map ``(B, C, H, W)`` to a native feature. Where there are no class tokens they are its mean."""
        pieces, parts = iter(x.split([part.ordered[0] for part in self.mapped], dim=1)), iter(self.parts)

        def make(_: Tensor) -> Tensor:
            part = next(parts)
            if not part.split:
                return part.class_tokens(x.mean((2, 3)), tokens)
            return part.from_map(_resize(next(pieces), part.grid), tokens)

        return each_tensor(make, self.native)


def _resize(x: Tensor, grid: Grid) -> Tensor:
    """Average where the grid gets coarser, repeat where it gets finer: finer and back changes nothing."""
    if x.shape[-2:] == grid:
        return x
    return F.adaptive_avg_pool2d(x, grid) if x.size(-2) > grid[0] else F.interpolate(x, grid, mode='nearest')


def own_tokens(named: Sequence[tuple[str, Tensor]], count: int, channels: int) -> Tensor | None:
    """Return a network's own class, distillation and register tokens ``(1, count, channels)``; None if it has none."""
    fit = [(name, t) for name, t in named if 'token' in name and t.dim() == 3 and t.size(-1) == channels]
    found = [token for kind in ('cls', 'dist', 'reg') for name, token in fit if name.startswith(kind)]
    return torch.cat(found, dim=1) if found and sum(t.size(1) for t in found) == count else None
