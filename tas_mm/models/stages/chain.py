"""Fast path for networks whose modules run one after another.

Nothing is patched, so the tail can be compiled, and it accepts maps of any size, as detectors need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..utils import Grid
from .view import StageView


@dataclass(frozen=True)
class Chain:
    """Description of how the modules of a cut run one after another.

    Attributes:
        native: Native form: ``'map'``, ``'tokens'`` ``(B, T + H * W, C)`` with T class tokens first, or
            ``'grid_tokens'``, a tuple that begins with tokens ``(B, H * W, C)`` and their grid ``(H, W)``.
        finish: Computes the backbone's output from the output of stage 4.
        class_tokens: Returns the network's class tokens ``(1, 1, C)``.
        call: Calls a module on the previous module's output.
        modules: One module per stage, to call in place of the cut's modules.
    """

    native: str = 'map'
    finish: Callable[[nn.Module, Any, Any], Any] = lambda net, native, grid: native
    class_tokens: Callable[[nn.Module], list[Tensor]] = lambda net: []
    call: Callable[[nn.Module, Any], Any] = lambda module, native: module(native)
    modules: list[str] | None = None


class ChainView(StageView):
    """View of a backbone whose cut has a :class:`Chain`, with MMPretrain's neck and head."""

    chain = property(lambda self: self._cut.chain)

    def run_backbone(self, native: Any, start: int) -> tuple:
        """Run stages ``start`` to 4 and return the backbone's output."""
        chain = self.chain
        for names in [[name] for name in chain.modules][start - 1 :] if chain.modules else self.modules[start - 1 :]:
            for name in names:
                native = chain.call(self.net.get_submodule(name), native)
        return (chain.finish(self.net, native, self.grid_of(native)),)

    def run_tail(self, native: Any, start: int = 4) -> None:
        """Run stages ``start`` to 4, pooling and head; see :class:`StageView`."""
        outputs = self.run_backbone(native, start)
        if self.headless and self.feature_source == self.net_name:
            self.show(outputs, native)
            return
        outputs = outputs if self.model.neck is None else self.model.neck(outputs)
        if not self.headless:
            self.model.head(outputs)

    def to_map(self, native: Any, stage: int) -> Tensor:
        """Convert the native output of a stage to a map; see :class:`StageView`."""
        grid = self.grid_of(native)
        if grid is None:
            return native
        tokens = native[0] if self.chain.native == 'grid_tokens' else native
        return tokens[:, len(self.chain.class_tokens(self.net)) :].transpose(1, 2).unflatten(2, grid)

    def from_map(self, x: Tensor, stage: int, class_token: str = 'own') -> Any:
        """Convert a map to a stage's native form; see :class:`StageView`."""
        if self.chain.native == 'map':
            return x
        patches = x.flatten(2).transpose(1, 2)  # BxNxC
        if self.chain.native == 'grid_tokens':
            return patches, tuple(x.shape[-2:])
        tokens = [token.expand(len(x), -1, -1) for token in self.chain.class_tokens(self.net)]
        if class_token == 'mean':
            tokens = [patches.mean(dim=1, keepdim=True)] * len(tokens)
        return torch.cat([*tokens, patches], dim=1)

    def grid_of(self, native: Any) -> Grid | None:
        """Return the grid of tokens, with the proportions of the image. None for a map."""
        if self.chain.native != 'tokens':
            return tuple(native[1]) if self.chain.native == 'grid_tokens' else None
        count = native.size(1) - len(self.chain.class_tokens(self.net))
        height = round((count * self.input_size[0] / self.input_size[1]) ** 0.5)
        if count % height:
            raise ValueError(
                f'{self.key}: {count} tokens do not fill a grid with the proportions of an image of '
                f'{self.input_size[0]}x{self.input_size[1]}. Set model.distiller.input_size=(height, width)'
            )
        return height, count // height
