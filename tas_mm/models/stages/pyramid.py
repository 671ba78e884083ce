"""Pyramids whose stages give tokens without their grid: Twins, VAN, LeViT, TinyViT, MixMIM, HiViT.

The grid follows from the number of tokens and the proportions of the image.
"""

from __future__ import annotations

from torch import Tensor

from .base import stage_view
from .tokens import TokenStages


@stage_view('mmpretrain.PCPVT')
class TwinsStages(TokenStages):
    """PCPVT and SVT: patch embedding begins a stage, a norm (often none) ends it."""

    def cut(self) -> list[list[str]]:
        return [[f'patch_embeds.{i}', f'stages.{i}', f'norm_after_stage{i}'] for i in range(self.net.num_stage)]

    def run_stage(self, stage: int, x: Tensor) -> Tensor:
        i = stage - 1
        x, grid = self.net.patch_embeds[i](self.to_map(x, i))
        x = self.net.position_encoding_drops[i](x)
        for j, block in enumerate(self.net.stages[i]):
            x = block(x, grid)
            if j == 0:
                x = self.net.position_encodings[i](x, grid)
        return self.net.get_submodule(f'norm_after_stage{i}')(x)

    def finish(self, native: Tensor) -> Tensor:
        return self.to_map(native, 4)


@stage_view('mmpretrain.VAN')
class VANStages(TokenStages):
    """Visual attention network: its attention is a gate made by large convolutions, so it counts as a CNN."""

    family = 'cnn'

    def cut(self) -> list[list[str]]:
        return [[f'patch_embed{i}', f'blocks{i}', f'norm{i}'] for i in range(1, self.net.num_stages + 1)]

    def run_stage(self, stage: int, x: Tensor) -> Tensor:
        x, _ = self.net.get_submodule(f'patch_embed{stage}')(self.to_map(x, stage - 1))
        for block in self.net.get_submodule(f'blocks{stage}'):
            x = block(x)
        return self.net.get_submodule(f'norm{stage}')(x.flatten(2).transpose(1, 2))

    def finish(self, native: Tensor) -> Tensor:
        return self.to_map(native, 4)


@stage_view('mmpretrain.TinyViT')
class TinyViTStages(TokenStages):
    """Convolutions in stage 1, windows of tokens after it; patch merging ends stages 1 to 3."""

    def cut(self) -> list[list[str]]:
        return [[f'stages.{i}'] for i in range(self.net.num_stages)]

    def declared_size(self) -> tuple[int, int]:
        return self.net.img_size

    def finish(self, native: Tensor) -> Tensor:
        if self.net.gap_before_final_norm:
            return self.net.norm3(native.mean(1))
        return self.to_map(self.net.norm3(native), 4)


@stage_view('mmpretrain.LeViT')
class LeViTStages(TokenStages):
    """Three stages, of strides 16, 32 and 64: the first is cut in two, between an MLP and an attention block."""

    def cut(self) -> list[list[str]]:
        first, *rest = [[f'stages.{i}.{j}' for j in range(len(stage))] for i, stage in enumerate(self.net.stages)]
        half = len(first) // 4 * 2
        return [first[:half], first[half:], *rest]

    def declared_size(self) -> tuple[int, int]:
        return (16 * self.net.resolutions[0],) * 2

    def finish(self, native: Tensor) -> Tensor:
        return self.to_map(native, 4)


@stage_view('mmpretrain.MixMIMTransformer')
class MixMIMStages(TokenStages):
    """Patch merging ends stages 1 to 3."""

    def cut(self) -> list[list[str]]:
        return [[f'layers.{i}'] for i in range(self.net.num_layers)]

    def declared_size(self) -> tuple[int, int]:
        return tuple(4 * length for length in self.net.patch_resolution)

    def finish(self, native: Tensor) -> Tensor:
        return self.net.norm(native).mean(1)


@stage_view('mmpretrain.HiViT')
class HiViTStages(TokenStages):
    """Patches of 4x4 inner ones ``(B, H * W, 4, 4, c)``, which stages 1 and 2, MLP blocks, merge to 2x2 and to 1.

    The blocks with attention are cut in two, three quarters for stage 3. The positional embedding is part of it.
    """

    def cut(self) -> list[list[str]]:
        if self.net.num_stages != 3:
            raise ValueError(f'{self.key}.backbone: HiViT with depths={self.net.depths}, but 3 of them are needed')
        first, second, main = self.net.depths
        ends = [0, 2 * first + 1, 2 * (first + second) + 2]
        ends += [ends[-1] + main - max(1, round(main / 4)), ends[-1] + main]
        return [[f'blocks.{i}' for i in range(a, b)] for a, b in zip(ends, ends[1:])]

    def declared_size(self) -> tuple[int, int]:
        return self.net.patch_embed.img_size

    def run_stage(self, stage: int, x: Tensor) -> Tensor:
        if stage == 3:
            x = x[..., 0, 0, :]
            if self.net.ape:
                x = x + self.net.interpolate_pos_encoding(x, *self.input_size)
            x = self.net.pos_drop(x)
        bias = (True,) if stage > 2 and self.net.rpe else ()
        for name in self.cut()[stage - 1]:
            x = self.net.get_submodule(name)(x, *bias)
        return x

    def to_map(self, native: Tensor, stage: int) -> Tensor:
        if stage > 2:
            return super().to_map(native, stage)
        x = native.unflatten(1, self.grid_of(native.size(1)))  # BxHxWxPxPxC
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    def from_map(self, x: Tensor, stage: int) -> Tensor:
        if stage > 2:
            return super().from_map(x, stage)
        inner = 3 - stage
        x = x.unflatten(3, (-1, inner)).unflatten(2, (-1, inner))  # BxCxHxPxWxP
        return x.permute(0, 2, 4, 3, 5, 1).flatten(1, 2)

    def finish(self, native: Tensor) -> Tensor:
        return self.to_map(native, 4)
