"""Vision Transformer and its kin: equal blocks over one grid of tokens, with or without class tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import StagedClassifier, stage_view
from .tokens import TokenStages, cut_blocks


@stage_view('mmpretrain.VisionTransformer')
class VisionTransformerStages(TokenStages):
    """ViT, DeiT, DeiT III, the ViTs of CLIP, MAE and DINO."""

    blocks = 'layers'
    norm = 'ln1'

    def cut(self) -> list[list[str]]:
        depth = len(self.net.get_submodule(self.blocks))
        return [[f'{self.blocks}.{i}' for i in blocks] for blocks in cut_blocks(depth, self.key)]

    def declared_size(self) -> tuple[int, int]:
        return self.net.img_size

    def class_tokens(self, stage: int) -> list[Tensor]:
        return [] if self.net.cls_token is None else [self.net.cls_token]

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the patches among tokens of stage 4."""
        return self.grid_of(x.size(1) - len(self.class_tokens(4)))

    def finish(self, native: Tensor) -> Tensor:
        if self.net.final_norm:
            native = self.net.get_submodule(self.norm)(native)
        return self.net._format_output(native, self.grid(native))


@stage_view('mmpretrain.DistilledVisionTransformer')
class DistilledVisionTransformerStages(VisionTransformerStages):
    """DeiT with a distillation token and a head for each token.

    Its logits are the mean of both heads, its feature is the class token.
    """

    def class_tokens(self, stage: int) -> list[Tensor]:
        return [self.net.cls_token, self.net.dist_token]


@stage_view('mmpretrain.BEiTViT')
class BEiTStages(VisionTransformerStages):
    """BEiT and BEiT v2: every block takes the relative position bias that all share, if they do."""

    def run_stage(self, stage: int, x: Tensor) -> Tensor:
        bias = None if self.net.rel_pos_bias is None else self.net.rel_pos_bias()
        for name in self.cut()[stage - 1]:
            x = self.net.get_submodule(name)(x, bias)
        return x


@stage_view('mmpretrain.ViTEVA02')
class EVA02Stages(VisionTransformerStages):
    """Every block takes the grid, for its rotary embedding."""

    def run_stage(self, stage: int, x: Tensor) -> Tensor:
        for name in self.cut()[stage - 1]:
            x = self.net.get_submodule(name)(x, self.grid(x))
        return x


@stage_view('mmpretrain.T2T_ViT')
class T2TStages(VisionTransformerStages):
    """The tokens-to-token module belongs to the first stage."""

    blocks = 'encoder'
    norm = 'norm'

    def declared_size(self) -> tuple[int, int]:
        return tuple(16 * length for length in self.net.patch_resolution)


@stage_view('mmpretrain.XCiT')
class XCiTStages(VisionTransformerStages):
    """The class token and its attention layers come last, so they belong to the fourth stage."""

    blocks = 'xca_layers'

    def cut(self) -> list[list[str]]:
        *early, last = super().cut()
        return [*early, last + [f'ca_layers.{i}' for i in range(len(self.net.ca_layers))]]

    def declared_size(self) -> None:
        return None

    def class_tokens(self, stage: int) -> list[Tensor]:
        return [self.net.cls_token] if stage == 4 else []

    def run_stage(self, stage: int, x: Tensor) -> Tensor:
        grid = self.grid_of(x.size(1))
        for i in cut_blocks(len(self.net.xca_layers))[stage - 1]:
            x = self.net.xca_layers[i](x, *grid)
        if stage == 4:
            x = torch.cat([self.net.cls_token.expand(len(x), -1, -1), x], dim=1)
            for layer in self.net.ca_layers:
                x = layer(x)
        return x

    def finish(self, native: Tensor) -> Tensor:
        return self.net._format_output(self.net.norm(native), self.grid(native), True)


@stage_view('mmpretrain.TNT')
class TNTStages(VisionTransformerStages):
    """Pixel tokens ``(B * H * W, P, c)`` in patch tokens ``(B, 1 + H * W, C)``: maps have ``C + P * c`` channels.

    A layer begins by adding the pixels to the patches, in place: what a recorder holds of a stage has that done.
    """

    def declared_size(self) -> tuple[int, int]:
        return self.net.pixel_embed.img_size

    def run_stage(self, stage: int, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        for name in self.cut()[stage - 1]:
            x = self.net.get_submodule(name)(*x)
        return x

    def to_map(self, native: tuple[Tensor, Tensor], stage: int) -> Tensor:
        pixels, patches = native
        pixels = pixels.reshape(len(patches), self.net.num_patches, -1).transpose(1, 2)
        patches = super().to_map(patches, stage)
        return torch.cat([patches, pixels.unflatten(2, patches.shape[-2:])], dim=1)

    def from_map(self, x: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        patches, pixels = x.split([self.net.embed_dims, x.size(1) - self.net.embed_dims], dim=1)
        pixels = pixels.flatten(2).transpose(1, 2).unflatten(2, (-1, self.net.embed_dims_inner))
        return pixels.flatten(0, 1), super().from_map(patches, stage)

    def finish(self, native: tuple[Tensor, Tensor]) -> Tensor:
        return self.net.norm(native[1])[:, 0]


@stage_view('mmpretrain.RevVisionTransformer')
class RevVisionTransformerStages(VisionTransformerStages):
    """Reversible ViT: two streams of tokens, side by side in the channels of a map."""

    def cut(self) -> list[list[str]]:
        if not self.net.no_custom_backward:
            raise ValueError(
                f'{self.key}.backbone.no_custom_backward=False runs the blocks outside of the graph when training, so '
                'that no gradient gets from the assistant to them; set it to True'
            )
        return super().cut()

    def run_stage(self, stage: int, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        for name in self.cut()[stage - 1]:
            x = self.net.get_submodule(name)(*x)
        return x

    def to_map(self, native: tuple[Tensor, Tensor], stage: int) -> Tensor:
        return torch.cat([super(RevVisionTransformerStages, self).to_map(x, stage) for x in native], dim=1)

    def from_map(self, x: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        first, second = x.chunk(2, dim=1)
        return super().from_map(first, stage), super().from_map(second, stage)

    def finish(self, native: tuple[Tensor, Tensor]) -> Tensor:
        x = torch.cat(native, dim=-1)
        if self.net.final_norm:
            x = self.net.ln1(x)
        return self.net._format_output(self.net.fusion_layer(x), self.grid(x))


@stage_view('mmpretrain.ViTSAM')
class SAMStages(StagedClassifier):
    """The ViT of SAM: features ``(B, H, W, C)`` between its blocks, no class token."""

    family = 'attention'

    def cut(self) -> list[list[str]]:
        return [[f'layers.{i}' for i in blocks] for blocks in cut_blocks(len(self.net.layers), self.key)]

    def declared_size(self) -> tuple[int, int]:
        return self.net.img_size

    def to_map(self, native: Tensor, stage: int) -> Tensor:
        return native.permute(0, 3, 1, 2)

    def from_map(self, x: Tensor, stage: int) -> Tensor:
        return x.permute(0, 2, 3, 1)

    def finish(self, native: Tensor) -> Tensor:
        x = self.to_map(native, 4)
        if self.net.out_channels > 0:
            x = self.net.channel_reduction(x)
        return self.net._format_output(x)
