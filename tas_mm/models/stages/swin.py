"""Swin Transformer."""

from __future__ import annotations

from torch import Tensor

from .base import StagedClassifier, stage_view

Tokens = tuple[Tensor, tuple[int, int]]  # (B, H * W, C) and (H, W)


@stage_view('mmpretrain.SwinTransformer')
class SwinStages(StagedClassifier):
    """Stages 1 to 3 end with their patch merging, so that a stage's input is the output of the one before."""

    family = 'attention'

    def cut(self) -> list[list[str]]:
        return [['stages.0.downsample'], ['stages.1.downsample'], ['stages.2.downsample'], ['stages.3']]

    def declared_size(self) -> tuple[int, int]:
        return self.net.patch_embed.init_input_size

    def run_stage(self, stage: int, x: Tokens) -> Tokens:
        return self.net.stages[stage - 1](*x, do_downsample=True)

    def to_map(self, native: Tokens, stage: int) -> Tensor:
        x, grid = native
        return x.transpose(1, 2).unflatten(2, grid)

    def from_map(self, x: Tensor, stage: int) -> Tokens:
        return x.flatten(2).transpose(1, 2), tuple(x.shape[-2:])

    def finish(self, native: Tokens) -> Tensor:
        x, grid = native
        return self.to_map((self.net.norm3(x), grid), 4)
