"""Hybrids that run on maps: convolutions first, attention or graphs later. See ``FAMILIES`` for what they count as."""

from __future__ import annotations

from torch import Tensor

from .base import stage_view
from .cnn import DOWN_FIRST, ChainStages, numbered
from .tokens import cut_blocks


@stage_view('mmpretrain.MobileViT')
class MobileViTStages(ChainStages):
    """Strides 4, 8, 16, 32; the last three stages end with transformer blocks."""

    family = 'attention'
    cuts = dict(MobileViT='layers.0 layers.1 | layers.2 | layers.3 | layers.4 conv_1x1_exp')


@stage_view('mmpretrain.EdgeNeXt')
class EdgeNeXtStages(ChainStages):
    """The last three stages end with attention over channels."""

    family = 'attention'
    cuts = dict(EdgeNeXt=DOWN_FIRST)

    def finish(self, native: Tensor) -> Tensor:
        if self.net.gap_before_final_norm:
            return self.net.norm3(native.mean([-2, -1]))
        return self.net.norm3(native)


@stage_view('mmpretrain.Vig', 'mmpretrain.PyramidVig')
class VigStages(ChainStages):
    """Vision GNN: every position takes from those of the whole image that are nearest to it in feature space."""

    family = 'attention'
    cuts = dict(
        Vig=lambda net: [[f'blocks.{i}' for i in blocks] for blocks in cut_blocks(net.num_blocks)],
        PyramidVig=lambda net: [[stage] for stage in numbered('stages', net.num_stages)],
    )

    def declared_size(self) -> tuple[int, int]:
        stride = 16 if self.net.pos_embed.size(2) == 14 else 4
        return tuple(stride * length for length in self.net.pos_embed.shape[2:])


@stage_view('mmpretrain.EfficientFormer')
class EfficientFormerStages(ChainStages):
    """Pooling mixes tokens in stages 1 to 3; stage 4 ends in ``vit_num`` attention blocks, and then gives tokens."""

    cuts = dict(EfficientFormer='network.0 | network.1 | network.2 | network.3')

    @property
    def family(self) -> str:
        """'attention' if stage 4 has any, else 'cnn'."""
        return 'attention' if self.net.vit_num else 'cnn'

    def to_map(self, native: Tensor, stage: int) -> Tensor:
        if native.dim() == 4:
            return native
        return native.transpose(1, 2).unflatten(2, self.grid_of(native.size(1)))

    def from_map(self, x: Tensor, stage: int) -> Tensor:
        return x.flatten(2).transpose(1, 2) if stage == 4 and self.net.vit_num else x

    def finish(self, native: Tensor) -> Tensor:
        if native.dim() == 4:
            return self.net.norm3(native)
        if self.net.reshape_last_feat:
            return self.net.norm3(self.to_map(native, 4))
        return self.net.norm3(native).transpose(1, 2)
