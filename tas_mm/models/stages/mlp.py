"""Networks that mix positions with linear layers, whose width is the number of tokens they were built for."""

from __future__ import annotations

from torch import Tensor

from .base import StagedClassifier, stage_view
from .tokens import TokenStages, cut_blocks


@stage_view('mmpretrain.MlpMixer')
class MlpMixerStages(TokenStages):
    """Equal blocks over one grid of tokens."""

    family = 'mlp'

    def cut(self) -> list[list[str]]:
        return [[f'layers.{i}' for i in blocks] for blocks in cut_blocks(len(self.net.layers), self.key)]

    def declared_size(self) -> tuple[int, int]:
        return self.net.img_size

    def finish(self, native: Tensor) -> Tensor:
        return self.net.norm1(native).transpose(1, 2)


@stage_view('mmpretrain.RepMLPNet')
class RepMLPNetStages(StagedClassifier):
    """A pyramid of maps; downsampling ends stages 1 to 3."""

    family = 'mlp'

    def cut(self) -> list[list[str]]:
        return [[f'stages.{i}', f'downsample_layers.{i}'] for i in range(3)] + [['stages.3']]

    def declared_size(self) -> tuple[int, int]:
        return self.net.img_size

    def finish(self, native: Tensor) -> Tensor:
        return self.net.final_norm(native)
