"""Run the part of a network after a cut through the network's own forward.

The tail of any network is its own forward, in which the modules before the cut are *short-circuited*. They are not
computed, but return zeros of the right shape, with stride 0, so that they take no memory. The module that ends the last
stage before the cut returns the feature to start from. So the network itself does reshapes, late class tokens and the
like.

This is exact if everything that the later stages know of the image passes through that one module. Otherwise (NASNet's
cells read the two previous cells) ``StageView.check_tail`` raises when the model is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from ..utils import PROBE, each_tensor, tensors


@dataclass(eq=False)
class Call:
    """One call of a module, in the order the calls began. Its output is kept as :func:`blank` tensors."""

    name: str  # dotted, in the network; not the module, which SyncBN conversion may replace
    kind: str  # the module's class
    parent: Call | None
    sees_image: bool
    begun: int
    done: int = -1
    output: Any = None


class Trace:
    """Calls of a network's modules in one run of ``run`` on ``PROBE`` different images.

    Outputs without a batch dimension, or equal for all images, such as rotary embeddings, are never short-circuited.
    """

    def __init__(self, net: nn.Module, run: Callable[[], Any]) -> None:
        self.net, self.calls, self._dense = net, [], False
        clock, opened = count(), []
        batched = lambda x: x.dim() > 0 and len(x) > 0 and len(x) % PROBE == 0  # noqa: E731

        def begin(name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
            sees_image = any(map(batched, tensors([args, kwargs])))
            call = Call(name, type(module).__name__, opened[-1] if opened else None, sees_image, next(clock))
            self.calls.append(call)
            opened.append(call)

        def end(module: nn.Module, args: tuple, output: Any) -> None:
            call, found = opened.pop(), tensors(output)
            call.done = next(clock)
            call.sees_image &= all(map(batched, found)) and any(not torch.equal(*x.chunk(PROBE)) for x in found)
            call.output = each_tensor(blank, output) if call.sees_image else None

        hooks = []
        for name, module in net.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(begin, name), with_kwargs=True))
            hooks.append(module.register_forward_hook(end))
        try:
            run()
        finally:
            for hook in hooks:
                hook.remove()

    def source(self, name: str) -> Call:
        """Return the only call of a module that ends a stage. Raises a ValueError if there is not exactly one."""
        calls = [call for call in self.calls if call.name == name]
        if len(calls) != 1 or not calls[0].sees_image:
            kind = type(self.net.get_submodule(name)).__name__
            raise ValueError(f'its {kind} runs {len(calls)} times in a forward pass, not once')
        return calls[0]

    def run_from(self, source: str, native: Any, run: Callable[[int, Tensor], Any]) -> None:
        """Run the network with ``run(batch, like)`` from a module's output. ``like`` has the type of the images."""
        end, like = self.source(source), tensors(native)[0]
        batch = len(like) * PROBE // len(tensors(end.output)[0])
        zeros = partial(fill, batch=batch, like=like, dense=self._dense)
        outputs = {self.net.get_submodule(source): [lambda: native]}
        for call in self._outermost_before(end):
            outputs.setdefault(self.net.get_submodule(call.name), []).append(partial(each_tensor, zeros, call.output))
        try:
            with short_circuit(outputs):
                run(batch, like)
        except RuntimeError as error:
            if self._dense or 'single memory location' not in str(error):
                raise
            self._dense = True  # this network writes in place into a module's output
            self.run_from(source, native, run)

    def _outermost_before(self, end: Call) -> list[Call]:
        """Return the calls that end before another call begins, without calls inside of them or around it."""
        around, parent = set(), end.parent
        while parent is not None:
            around.add(parent)
            parent = parent.parent
        outermost = (c for c in self.calls if (c.parent is None or c.parent in around) and c not in around)
        return [call for call in outermost if call.sees_image and call.done < end.done]


def blank(x: Tensor) -> Tensor:
    """Return zeros of a tensor's shape and type that share one element in memory. Equal indices are kept."""
    keep = not x.is_floating_point() and torch.equal(*x.chunk(PROBE))
    return x.clone() if keep else x.new_zeros(()).expand(x.shape)


def fill(blank: Tensor, batch: int, like: Tensor, dense: bool) -> Tensor:
    """Return a blank tensor for another batch size, on the device and in the type of ``like``."""
    first = blank[: len(blank) // PROBE]
    if any(blank.stride()):  # kept
        return first.to(like.device).repeat(batch, *(1 for _ in first.shape[1:]))
    zero = like.new_zeros((), dtype=like.dtype if blank.is_floating_point() else blank.dtype)
    zeros = zero.expand(len(first) * batch, *first.shape[1:])
    return zeros.contiguous() if dense else zeros


@contextmanager
def short_circuit(outputs: Mapping[nn.Module, Iterable[Callable[[], Any]]]) -> Iterator[None]:
    """Make modules return the outputs of functions, one after another. Afterwards they run their own forward again."""
    own = {module: module.__dict__.get('forward') for module in outputs}
    for module, makers in outputs.items():
        module.forward = partial(_next_of, iter(makers), module.forward)
    try:
        yield
    finally:
        for module, forward in own.items():
            if forward is None:
                del module.forward
            else:
                module.forward = forward


def _next_of(makers: Iterator[Callable[[], Any]], forward: Callable, *args: Any, **kwargs: Any) -> Any:
    make = next(makers, None)
    return forward(*args, **kwargs) if make is None else make()
