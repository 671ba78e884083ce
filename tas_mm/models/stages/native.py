"""Between what the modules of a network hand on and maps ``(B, C, H, W)``, worked out from shapes.

A native feature may be a map in NCHW or NHWC, tokens with or without class tokens in front, or a tuple or list of such
(dual paths, several resolutions, pixels inside patches). Several become one map: brought to the coarsest grid and
joined along the channels; on the way back they are split and enlarged again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.utils.misc import apply_to
from torch import Tensor

from .replay import Blank, blanks, tensors

Grid = tuple[int, int]
Prefix = Callable[[int, int], Tensor | None]  # (count, channels) to class tokens (1, count, channels), if there are any


@dataclass(frozen=True)
class Part:
    """How one tensor of a native feature lies in memory.

    Attributes:
        kind (str): ``'nchw'``, ``'nhwc'``, ``'tokens'`` ``(B, T + H * W, C)``, ``'flat'`` ``(B, C, H * W)``,
            ``'windows'`` ``(B, windows, window, C)``, ``'cells'`` ``(B * H * W, P, C / P)`` (pixels inside patches) or
            ``'prefix'`` ``(B, T, C)`` (class tokens alone).
        channels (int): Width, of all the pixels of a cell together.
        grid (tuple): Height and width.
        prefix (int): Class tokens before the others.
        pixels (int): Of a cell.
        window (tuple): Height and width of a window.
    """

    kind: str
    channels: int
    grid: Grid
    prefix: int = 0
    pixels: int = 1
    window: Grid = (1, 1)


class Layout:
    """How a native feature becomes a map and back.

    Args:
        native: The recorded output of a stage, with a ``Blank`` in place of each tensor.
        image (tuple): Height and width of the images.
        prefix (int): Class tokens that the network says it has.
        channels_last (bool): What to take a map for that could be either.

    Raises:
        ValueError: If a tensor is neither a map nor tokens that fill a grid with the proportions of the image.
    """

    def __init__(self, native: Any, image: Grid, prefix: int = 0, channels_last: bool = False) -> None:
        self.native = native
        self.image = image
        self.ratio = blanks(native)[0].ratio
        self.parts = [self._part(blank, prefix, channels_last) for blank in blanks(native)]
        mapped = [part for part in self.parts if part.kind != 'prefix']
        if not mapped:
            raise ValueError('its output has no grid')
        self.grid = min((part.grid for part in mapped), key=lambda grid: grid[0] * grid[1])
        self.channels = sum(part.channels for part in mapped)

    def _fills(self, height: int, width: int) -> bool:
        """Whether so many cells have the proportions of the image, within one cell."""
        return height > 0 and abs(height * self.image[1] - width * self.image[0]) < max(self.image)

    def _grid(self, count: int) -> Grid | None:
        height = round((count * self.image[0] / self.image[1]) ** 0.5)
        if height and count % height == 0 and self._fills(height, count // height):
            return height, count // height
        return None

    def _part(self, blank: Blank, prefix: int, channels_last: bool) -> Part:
        shape = blank.shape
        if len(shape) == 3:
            first, last = self._fills(*shape[1:]), self._fills(*shape[:2])
            if last and (channels_last or not first):
                return Part('nhwc', shape[2], shape[:2])
            if first:
                return Part('nchw', shape[0], shape[1:])
            windows, window = self._grid(shape[0]), self._grid(shape[1])
            if windows and window:
                grid = (windows[0] * window[0], windows[1] * window[1])
                return Part('windows', shape[2], grid, window=window)
        elif len(shape) == 2 and blank.ratio > 1:
            grid = self._grid(blank.ratio)
            if grid:
                return Part('cells', shape[0] * shape[1], grid, pixels=shape[0])
        elif len(shape) == 2:
            if shape[0] <= max(prefix, 2):  # a class and a distillation token, if the network does not say
                return Part('prefix', shape[1], (1, 1), shape[0])
            for count in (prefix, 0, 1, 2):
                grid = self._grid(shape[0] - count)
                if grid:
                    return Part('tokens', shape[1], grid, count)
            grid = self._grid(shape[1])
            if grid:
                return Part('flat', shape[0], grid)
        raise ValueError(
            f'its output of shape (B{f" * {blank.ratio}" if blank.ratio > 1 else ""}, {", ".join(map(str, shape))}) is '
            f'neither a map nor tokens on a grid with the proportions of {self.image[0]}x{self.image[1]}'
        )

    def to_map(self, native: Any) -> Tensor:
        """A native feature to a map ``(B, C, H, W)``, without class tokens."""
        found = [_to_map(x, part) for x, part in zip(tensors(native), self.parts) if part.kind != 'prefix']
        found = [x if x.shape[-2:] == self.grid else F.adaptive_avg_pool2d(x, self.grid) for x in found]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    def from_map(self, x: Tensor, prefix: Prefix) -> Any:
        """A map ``(B, C, H, W)`` to a native feature; class tokens are the network's own, else the mean of the map."""
        widths = [part.channels for part in self.parts if part.kind != 'prefix']
        pieces = iter(x.split(widths, dim=1))
        found = []
        for part in self.parts:
            if part.kind == 'prefix':
                found.append(_tokens(part, x.mean((2, 3)), prefix))
                continue
            piece = next(pieces)
            if piece.shape[-2:] != part.grid:
                piece = F.interpolate(piece, part.grid, mode='bilinear', align_corners=False)
            found.append(_from_map(piece, part, prefix))
        parts = iter(found)
        return apply_to(self.native, lambda leaf: isinstance(leaf, Blank), lambda blank: next(parts))


def _to_map(x: Tensor, part: Part) -> Tensor:
    if part.kind == 'nchw':
        return x
    if part.kind == 'nhwc':
        return x.permute(0, 3, 1, 2)
    if part.kind == 'flat':
        return x.unflatten(2, part.grid)
    if part.kind == 'windows':
        rows, columns = part.grid[0] // part.window[0], part.grid[1] // part.window[1]
        x = x.reshape(-1, rows, columns, *part.window, part.channels)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, part.channels, *part.grid)
    if part.kind == 'cells':
        x = x.reshape(-1, part.grid[0] * part.grid[1], part.channels)
    return x[:, part.prefix :].transpose(1, 2).unflatten(2, part.grid)


def _from_map(x: Tensor, part: Part, prefix: Prefix) -> Tensor:
    if part.kind == 'nchw':
        return x
    if part.kind == 'nhwc':
        return x.permute(0, 2, 3, 1).contiguous()
    if part.kind == 'windows':
        rows, columns = part.grid[0] // part.window[0], part.grid[1] // part.window[1]
        x = x.reshape(-1, part.channels, rows, part.window[0], columns, part.window[1])
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)
    x = x.flatten(2)
    if part.kind == 'flat':
        return x
    x = x.transpose(1, 2)  # BxNxC
    if part.kind == 'cells':
        return x.reshape(-1, part.pixels, part.channels // part.pixels)
    if part.prefix:
        x = torch.cat([_tokens(part, x.mean(1), prefix).to(x), x], dim=1)
    return x


def _tokens(part: Part, mean: Tensor, prefix: Prefix) -> Tensor:
    """Class tokens ``(B, T, C)``: the network's own, else the mean of the features given, ``(B, C')``."""
    own = prefix(part.prefix, part.channels)
    if own is not None:
        return own.expand(len(mean), -1, -1)
    if mean.size(1) != part.channels:
        raise ValueError(f'the network has no class token of width {part.channels}, and its map is {mean.size(1)} wide')
    return mean.unsqueeze(1).expand(-1, part.prefix, -1)


def class_tokens(named: Sequence[tuple[str, Tensor]], count: int, channels: int) -> Tensor | None:
    """A network's own class, distillation and register tokens, ``(1, count, channels)``, or None if it has no such."""
    found = []
    for kind in ('cls', 'dist', 'reg'):
        found += [
            token
            for name, token in named
            if name.startswith(kind) and 'token' in name and token.dim() == 3 and token.size(-1) == channels
        ]
    tokens = torch.cat(found, dim=1) if found else None
    return tokens if tokens is not None and tokens.size(1) == count else None
