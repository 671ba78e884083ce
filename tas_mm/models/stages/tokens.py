"""What views of networks that work on tokens share: tokens to maps and back, and the cut of equal blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import StagedClassifier

GridTokens = tuple[Tensor, tuple[int, int]]  # (B, H * W, C) and (H, W)


def cut_blocks(depth: int, key: str = 'model') -> list[range]:
    """Cut equal blocks into four stages as OFA-KD does 12 of them: 2, 2, 6, 2 (arXiv 2310.19444); in proportion else.

    Args:
        depth (int): How many blocks there are.
        key (str): Where their network stands in the config, for the error message. Defaults to ``'model'``.

    Raises:
        ValueError: If there are fewer than 4 blocks.
    """
    if depth < 4:
        raise ValueError(f'{key}.backbone: {depth} blocks cannot be cut into 4 stages')
    short = max(1, round(depth / 6))
    ends = [0, short, 2 * short, depth - short, depth]
    return [range(a, b) for a, b in zip(ends, ends[1:])]


class TokenStages(StagedClassifier):
    """Tokens ``(B, T + H * W, C)``, T class tokens first.

    As a late part the network's own class tokens, or the mean of the projected tokens, are put before the projected
    tokens; no positional embedding is added again.
    """

    family = 'attention'

    def class_tokens(self, stage: int) -> list[Tensor]:
        """The parameters ``(1, 1, C)`` that stand before the patches in the output of a stage."""
        return []

    def to_map(self, native: Tensor, stage: int) -> Tensor:
        x = native[:, len(self.class_tokens(stage)) :]  # BxNxC
        return x.transpose(1, 2).unflatten(2, self.grid_of(x.size(1)))

    def from_map(self, x: Tensor, stage: int) -> Tensor:
        patches = x.flatten(2).transpose(1, 2)  # BxNxC
        tokens = [token.expand(len(x), -1, -1) for token in self.class_tokens(stage)]
        if self.class_token == 'mean':
            tokens = [patches.mean(dim=1, keepdim=True)] * len(tokens)
        return torch.cat([*tokens, patches], dim=1)


class GridTokenStages(StagedClassifier):
    """Tokens ``(B, H * W, C)`` that travel with their grid ``(H, W)``."""

    family = 'attention'

    def run_stage(self, stage: int, x: GridTokens) -> GridTokens:
        for name in self.cut()[stage - 1]:
            x = self.net.get_submodule(name)(*x)
        return x

    def to_map(self, native: GridTokens, stage: int) -> Tensor:
        x, grid = native
        return x.transpose(1, 2).unflatten(2, tuple(grid))

    def from_map(self, x: Tensor, stage: int) -> GridTokens:
        return x.flatten(2).transpose(1, 2), tuple(x.shape[-2:])

    def finish(self, native: GridTokens) -> Tensor:
        x, grid = native
        return self.to_map((self.net.norm3(x), grid), 4)
