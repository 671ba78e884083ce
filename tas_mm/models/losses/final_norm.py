"""FinalNorm: the layer norm that a network applies after its last stage, outside of the stage itself."""

from __future__ import annotations

import math
from functools import cached_property

import torch.nn.functional as F
from torch import Tensor, nn

from ..stages import StageView
from ..utils import eval_mode


class FinalNorm:
    """Applies a network's final norm to maps. It has no parameters and is not a module.

    Args:
        view (StageView): View of the network.

    Examples:
        >>> import torch
        >>> from tas_mm.models.losses.final_norm import FinalNorm
        >>> from tas_mm.models.stages import view_of
        >>> from tas_mm.recipes.sources import build_classifier
        >>> norm = FinalNorm(view_of(build_classifier('timm:vit_tiny_patch16_224')))
        >>> norm.name, norm(torch.zeros(2, 192, 14, 14)).shape
        ('model.norm', torch.Size([2, 192, 14, 14]))
    """

    def __init__(self, view: StageView) -> None:
        self.view = view

    def __call__(self, x: Tensor) -> Tensor:
        """Normalize every position of a map ``(B, C, H, W)``. Without a norm of its width the map stays the same."""
        norm = self.view.model.get_submodule(self.name) if self.name else None
        if norm is None or norm.normalized_shape != (x.size(1),):
            return x
        weight, bias = (None if p is None else p.to(x.dtype) for p in (norm.weight, norm.bias))
        return F.layer_norm(x.movedim(1, -1), norm.normalized_shape, weight, bias, norm.eps).movedim(-1, 1)

    @cached_property
    def name(self) -> str | None:
        """Dotted name of the last layer norm over the positions of stage 4. None if the network has none."""
        if self.view.any_size:
            return None
        model, (channels, *grid), found = self.view.model, self.view.shape('stage4'), []

        def see(norm: nn.LayerNorm, inputs: tuple, output: Tensor) -> None:
            if inputs[0].numel() >= channels * math.prod(grid):  # of one image
                found.append(norm)

        norms = {module: name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
        hooks = [norm.register_forward_hook(see) for norm in norms if norm.normalized_shape == (channels,)]
        try:
            with eval_mode(model):
                x = self.view.images(1).new_zeros(1, channels, *grid)
                self.view.run_tail(self.view.from_map(x, 4, 'mean'), 5)
        finally:
            for hook in hooks:
                hook.remove()
        return norms[found[-1]] if found else None
