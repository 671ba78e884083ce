"""Swin Transformer and others whose tokens travel with their grid: Swin V2, DaViT, MViT."""

from __future__ import annotations

from .base import stage_view
from .tokens import GridTokens, GridTokenStages


@stage_view('mmpretrain.SwinTransformer', 'mmpretrain.DaViT')
class SwinStages(GridTokenStages):
    """Stages 1 to 3 end with their patch merging, so that a stage's input is the output of the one before."""

    def cut(self) -> list[list[str]]:
        return [['stages.0.downsample'], ['stages.1.downsample'], ['stages.2.downsample'], ['stages.3']]

    def declared_size(self) -> tuple[int, int] | None:
        return self.net.patch_embed.init_input_size

    def run_stage(self, stage: int, x: GridTokens) -> GridTokens:
        return self.net.stages[stage - 1](*x, do_downsample=True)


@stage_view('mmpretrain.SwinTransformerV2')
class SwinV2Stages(GridTokenStages):
    """Patch merging is the first thing in a stage."""

    def cut(self) -> list[list[str]]:
        return [[f'stages.{i}'] for i in range(4)]

    def declared_size(self) -> tuple[int, int]:
        return self.net.patch_embed.init_input_size


@stage_view('mmpretrain.MViT')
class MViTStages(GridTokenStages):
    """Blocks in one list; the query's pooling, first thing in some of them, begins a stage."""

    def cut(self) -> list[list[str]]:
        starts = self.net.downscale_indices
        if len(starts) != 3 or self.net.out_scales != [3]:
            raise ValueError(
                f'{self.key}.backbone: MViT is cut where it scales down, which must be 3 times (downscale_indices='
                f'{starts}), with no norm in between (out_scales={self.net.out_scales}, but [3] or -1 is needed)'
            )
        ends = [0, *starts, self.net.num_layers]
        return [[f'blocks.{i}' for i in range(a, b)] for a, b in zip(ends, ends[1:])]

    def declared_size(self) -> tuple[int, int]:
        return self.net.patch_embed.init_input_size
