"""Vision Transformer and DeiT: isotropic, with or without a class token."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import StagedClassifier, stage_view


def cut_blocks(depth: int) -> list[range]:
    """Cut equal blocks into four stages as OFA-KD does 12 of them: 2, 2, 6, 2 (arXiv 2310.19444); in proportion else.

    Raises:
        ValueError: If there are fewer than 4 blocks.
    """
    if depth < 4:
        raise ValueError(f'{depth} blocks cannot be cut into 4 stages')
    short = max(1, round(depth / 6))
    ends = [0, short, 2 * short, depth - short, depth]
    return [range(a, b) for a, b in zip(ends, ends[1:])]


@stage_view('mmpretrain.VisionTransformer')
class VisionTransformerStages(StagedClassifier):
    """Tokens ``(B, T + H * W, C)``, T class tokens first.

    As a late part its own class token is put before the projected tokens; no positional embedding is added again.
    """

    family = 'attention'

    def cut(self) -> list[list[str]]:
        return [[f'layers.{i}' for i in blocks] for blocks in cut_blocks(len(self.net.layers))]

    def declared_size(self) -> tuple[int, int]:
        return self.net.img_size

    def to_map(self, native: Tensor, stage: int) -> Tensor:
        x = native[:, self.net.num_extra_tokens :]  # BxNxC
        return x.transpose(1, 2).unflatten(2, self.grid_of(x.size(1)))

    def from_map(self, x: Tensor, stage: int) -> Tensor:
        x = x.flatten(2).transpose(1, 2)  # BxNxC
        if self.net.cls_token is None:
            return x
        return torch.cat([self.net.cls_token.expand(len(x), -1, -1), x], dim=1)

    def finish(self, native: Tensor) -> Tensor:
        if self.net.final_norm:
            native = self.net.ln1(native)
        return self.net._format_output(native, self.grid_of(native.size(1) - self.net.num_extra_tokens))


@stage_view('mmpretrain.DistilledVisionTransformer')
class DistilledVisionTransformerStages(VisionTransformerStages):
    """DeiT with a distillation token, which comes with a head of its own: its logits are the mean of two layers."""

    def cut(self) -> list[list[str]]:
        raise ValueError(
            f'{self.key}.backbone: DistilledVisionTransformer has two heads, for its class and its distillation token, '
            'and no stage view yet; use VisionTransformer, as the deit-*_in1k configs without "distilled" do'
        )
