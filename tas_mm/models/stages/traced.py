"""View of any network: the tail replays the network's own forward from the cut."""

from __future__ import annotations

import re
from functools import cached_property, partial
from typing import Any

from torch import Tensor, nn

from ..layout import Layout, own_tokens
from ..utils import PROBE
from .trace import Trace
from .view import StageView

ATTENTION = re.compile('attention|attn|mhsa|mhca|shsa|shma|xca|mla$|msa$', re.IGNORECASE)
NOT_ATTENTION = re.compile(
    '(Light|Simple)?(Spatial|Channel|Coord)Attn|(SelectiveKernel|Split|EfficientLocal|Strip)Attn'
)
TOKEN_MLP = re.compile('MixerBlock|ResBlock|SpatialGating')


class TracedView(StageView):
    """View of a network, given the modules that end its four stages.

    One pass on noise records the calls of its modules (:class:`Trace`). The shapes of their outputs show how to read
    the map from them (:class:`Layout`).
    """

    @cached_property
    def trace(self) -> Trace:
        """The calls of the network's modules in one pass."""
        return Trace(self.net, lambda: self.look(PROBE, noise=True))

    @cached_property
    def family(self) -> str:
        """Family that the cut sets, or else inferred from the blocks of stage 4."""
        declared = self._cut and self._cut.declared_family(self.net)
        if declared:
            return declared
        begin, end = (self.trace.source(names[-1]) for names in self.modules[2:])
        kinds = {call.kind for call in self.trace.calls if begin.done < call.begun < end.done}
        if 'Mixer' in type(self.net).__name__ and any(map(TOKEN_MLP.search, kinds)):
            return 'mlp'
        return 'attention' if any(ATTENTION.search(k) and not NOT_ATTENTION.match(k) for k in kinds) else 'cnn'

    def layout(self, name: str) -> Layout:
        """Return the layout of a module's output."""
        try:
            return Layout(self.trace.source(name).output, self.input_size, self.prefix, self.channels_last)
        except ValueError as error:
            raise ValueError(f'{self.key}: {type(self.net).__name__} cannot be cut after {name}: {error}') from error

    @cached_property
    def layouts(self) -> list[Layout]:
        """Layouts of the four stages' outputs."""
        return [self.layout(names[-1]) for names in self.modules]

    def to_map(self, native: Any, stage: int) -> Tensor:
        """Convert the native output of a stage to a map; see :class:`StageView`."""
        return self.layouts[stage - 1].to_map(native)

    def from_map(self, x: Tensor, stage: int, class_token: str = 'own') -> Any:
        """Convert a map to a stage's native form; see :class:`StageView`."""
        named = [] if class_token == 'mean' else self.token_parameters()
        x = x.contiguous() if self._cut and self._cut.takes_view else x
        return self.layouts[stage - 1].from_map(x, partial(own_tokens, named))

    def token_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the network's class tokens, registers and the like, by name."""
        return [(name, token) for name, token in self.net.named_parameters() if 'token' in name]

    def run_tail(self, native: Any, start: int = 4) -> None:
        """Run stages ``start`` to 4, pooling and head; see :class:`StageView`."""
        shape = self.in_channels, *self.input_size
        run = lambda batch, like: self.run(like.new_zeros(batch, *shape))  # noqa: E731
        self.trace.run_from(self.modules[start - 2][-1], native, run)


def lists_of(net: nn.Module) -> dict[str, nn.Module]:
    """Return the plain lists and sequences of modules in a network, by name."""
    return {name: m for name, m in net.named_modules() if type(m) in (nn.Sequential, nn.ModuleList)}


def last_module(net: nn.Module, name: str) -> str:
    """Return the module that runs last inside another one. Lists never run as a whole, sequences not always."""
    module = net.get_submodule(name)
    while type(module) in (nn.Sequential, nn.ModuleList) and len(module):
        child, module = list(module.named_children())[-1]
        name = f'{name}.{child}'
    return name
