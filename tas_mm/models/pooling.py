"""Pooling: from the output of a network without a head (a vector, a map or tokens) to its feature ``(B, C)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .layout import Layout
from .utils import Grid, tensors

FEATURES = ('output', 'class_token', 'mean')
"""Choices for the feature of a network without a head: its output, a class token, or the mean over positions."""

POOLED = ('pooler_output', 'image_embeds', 'x_norm_clstoken')
SPATIAL = ('last_hidden_state', 'x_norm_patchtokens', 'feature_maps')
"""Keys of the pooled feature, and of the tokens or the map, in networks that return several things."""


class Pooling:
    """Conversion of a headless network's output to its feature, inferred from one output.

    A vector is the feature itself. Tokens give the class token if there is one, else the mean of the patches without
    registers. A map gives the mean over positions.

    Args:
        output (Any): The network's output for ``PROBE`` images: a tensor, or several in a tuple or dict.
        kind (str, optional): One of ``FEATURES``. Defaults to None, which means ``'output'``.
        image (tuple): Height and width of the images.
        prefix (int): Number of class tokens, registers and the like that the network declares. Defaults to 0.
        channels_last (bool): Whether a map that fits both NCHW and NHWC is NHWC. Defaults to False.
        random_pooler (bool): Whether ``pooler_output`` comes from a layer that checkpoints often lack. Defaults to
            False.

    Raises:
        ValueError: If the output has no such feature.

    Examples:
        >>> import torch
        >>> pooling = Pooling(torch.zeros(2, 1 + 4 + 196, 384), None, (224, 224), prefix=5)
        >>> pooling.description, pooling(torch.zeros(8, 201, 384)).shape
        ('class token of 201 tokens', torch.Size([8, 384]))
    """

    def __init__(
        self,
        output: Any,
        kind: str | None,
        image: Grid,
        prefix: int = 0,
        channels_last: bool = False,
        random_pooler: bool = False,
    ) -> None:
        self.spatial = kind in ('class_token', 'mean') or random_pooler
        x, self.part = self._last(output), None
        self.width = x.size(1)
        if x.dim() == 2:
            if kind not in (None, 'output'):
                raise ValueError(f'its output is a vector of {x.size(1)}, without tokens or a map for {kind!r}')
            self.description = f'output, a vector of {x.size(1)}'
            return
        self.part = part = Layout(x, image, prefix, channels_last).parts[0]
        self.width = part.channels
        if kind == 'class_token' and not part.prefix:
            raise ValueError(f'its output of shape (B, {", ".join(map(str, x.shape[1:]))}) has no class token')
        self.from_token = part.prefix > 0 and kind != 'mean'
        grid = '' if part.grid is None else f'{part.grid[0]}x{part.grid[1]} '
        self.description = f'class token of {x.size(1)} tokens' if self.from_token else f'mean over {grid}positions'

    def __call__(self, output: Any) -> Tensor:
        """Return the feature ``(B, C)`` of an output."""
        x = self._last(output)
        if self.part is None:
            return x
        return x[:, 0] if self.from_token else self.part.to_map(x).mean(dim=(2, 3))

    def _last(self, output: Any) -> Tensor:
        """Return the tensor that has the feature; for several stages, the last one."""
        if isinstance(output, Mapping):
            names = (*SPATIAL, *POOLED) if self.spatial else (*POOLED, *SPATIAL)
            output = next((output[name] for name in names if output.get(name) is not None), output)
        found = tensors(output)
        if not found:
            raise ValueError(f'its output is a {type(output).__name__}, which has no tensor')
        x = found[-1]
        return x.flatten(1) if x.dim() == 4 and x.shape[-2:] == (1, 1) else x


def has_random_pooler(net: nn.Module) -> bool:
    """Return True if a network of transformers pools with a dense layer, which checkpoints often lack (as in BERT)."""
    return any(name.split('.')[-2:] == ['pooler', 'dense'] for name, _ in net.named_modules())
