"""Networks with several features at once, of different resolution: HRNet and Conformer.

As a map they are resized to one grid and put side by side in the channels; a map is parted and resized the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import StagedClassifier, stage_view

Grid = tuple[int, int]


def resize(x: Tensor, grid: Grid) -> Tensor:
    """Average where the grid gets coarser, repeat where it gets finer, so that finer and back changes nothing."""
    if x.size(-2) > grid[0]:
        return F.adaptive_avg_pool2d(x, grid)
    return F.interpolate(x, grid, mode='nearest')


@stage_view('mmpretrain.HRNet')
class HRNetStages(StagedClassifier):
    """Stage k has k branches, of strides 4, 8, ...; the map has the grid of the coarsest."""

    family = 'cnn'

    def cut(self) -> list[list[str]]:
        return [['layer1'], *([f'transition{i - 1}', f'stage{i}'] for i in (2, 3, 4))]

    def run_stage(self, stage: int, x: Tensor | Sequence[Tensor]) -> list[Tensor]:
        branches = [x] if stage == 2 else x
        transition = self.net.get_submodule(f'transition{stage - 1}')
        inputs = [layer(branches[min(i, len(branches) - 1)]) for i, layer in enumerate(transition)]
        return self.net.get_submodule(f'stage{stage}')(inputs)

    def to_map(self, native: Tensor | Sequence[Tensor], stage: int) -> Tensor:
        if stage == 1:
            return native
        return torch.cat([resize(x, native[-1].shape[-2:]) for x in native], dim=1)

    def from_map(self, x: Tensor, stage: int) -> Tensor | list[Tensor]:
        if stage == 1:
            return x
        height, width = x.shape[-2:]
        parts = x.split(self.net.extra[f'stage{stage}']['num_channels'], dim=1)
        return [resize(part, (height << i, width << i)) for part, i in zip(parts, reversed(range(stage)))]

    def outputs(self, native: Sequence[Tensor]) -> tuple:
        return tuple(native)


@stage_view('mmpretrain.Conformer')
class ConformerStages(StagedClassifier):
    """A map and tokens side by side, the map of stride 4, 8, 16 and 32; the grid of a stage is that of its tokens.

    The third group of blocks is cut in two. There is a head for each branch; feature and logits are the tokens', whose
    last mixing is attention. A late part starts from its own class token.
    """

    family = 'attention'
    Native = tuple[Tensor, Tensor]

    def cut(self) -> list[list[str]]:
        third = self.net.depths // 3
        ends = [2, third + 1, 2 * third + 1, 2 * third + 1 + third // 2, self.net.fin_stage]
        return [[f'conv_trans_{i}' for i in range(a, b)] for a, b in zip(ends, ends[1:])]

    def run_stage(self, stage: int, x: Native) -> Native:
        for name in self.cut()[stage - 1]:
            x = self.net.get_submodule(name)(*x)
        return x

    def to_map(self, native: Native, stage: int) -> Tensor:
        x, tokens = native
        tokens = tokens[:, int(self.net.with_cls_token) :]
        tokens = tokens.transpose(1, 2).unflatten(2, self.grid_of(tokens.size(1)))
        return torch.cat([tokens, resize(x, tokens.shape[-2:])], dim=1)

    def from_map(self, x: Tensor, stage: int) -> Native:
        tokens, x = x.split([self.net.embed_dims, x.size(1) - self.net.embed_dims], dim=1)
        scale = self.net.trans_patch_conv.stride[0] / 2 ** (stage - 1)
        x = resize(x, tuple(round(scale * length) for length in tokens.shape[-2:]))
        tokens = tokens.flatten(2).transpose(1, 2)
        if self.net.with_cls_token:
            tokens = torch.cat([self.net.cls_token.expand(len(x), -1, -1), tokens], dim=1)
        return x, tokens

    def finish(self, native: Native) -> list[Tensor]:
        x, tokens = native
        tokens = self.net.trans_norm(tokens)
        return [self.net.pooling(x).flatten(1), tokens[:, 0] if self.net.with_cls_token else tokens.mean(dim=1)]
