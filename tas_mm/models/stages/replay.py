"""Running what comes after a cut through a network's own forward.

How a network goes from one stage to the next is written in its ``forward``, in Python that no walk over its modules
sees: reshapes, class tokens that join late, rotary embeddings handed to every block, several heads. So the tail of an
arbitrary network is not rebuilt from its modules. Its own forward runs, and every module that the cut leaves behind is
*answered*: it is not computed but gives zeros of the right shape at once, and the module that ends the last stage
before the cut gives the feature that the tail starts from. What is left of the early stages is the glue between
modules, on zeros, which costs next to nothing.

Modules are remembered by name, since training may put others in their place (conversion to SyncBN and back).

This is exact as long as everything that the later stages know of the image passes through that one module. Where it
does not (NASNet's cells look back two cells), ``StagedClassifier.check_tail`` says so when the model is built.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.utils.misc import apply_to
from torch import Tensor, nn


@dataclass(frozen=True)
class Blank:
    """Shape of a tensor whose first dimension is ``ratio`` times the batch."""

    ratio: int
    shape: tuple[int, ...]  # without the first dimension
    dtype: torch.dtype
    values: Tensor | None = None  # of one image, where they are indices or a mask and the same for all

    def fill(self, batch: int, like: Tensor) -> Tensor:
        if self.values is not None:
            return self.values.to(like.device).repeat(batch, *(1 for _ in self.shape))
        dtype = like.dtype if self.dtype.is_floating_point else self.dtype
        return torch.zeros(self.ratio * batch, *self.shape, dtype=dtype, device=like.device)


@dataclass(eq=False)
class Call:
    """One call of a module, in the order the calls began."""

    name: str  # dotted, in the network
    kind: str  # the module's class
    parent: Call | None
    sees_image: bool
    begun: int
    done: int = -1
    output: Any = None


def tensors(data: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    found: list[Tensor] = []
    apply_to(data, lambda leaf: isinstance(leaf, Tensor), lambda leaf: found.append(leaf) or leaf)
    return found


def blanks(data: Any) -> list[Blank]:
    """Likewise, the blanks in a recorded output."""
    found: list[Blank] = []
    apply_to(data, lambda leaf: isinstance(leaf, Blank), lambda leaf: found.append(leaf) or leaf)
    return found


class Trace:
    """The calls of a network's modules during one forward pass.

    Args:
        net (nn.Module): The network.
        run (callable): Runs it, once, on two images that differ. So it can be told what has no batch dimension, and
            what is the same for every image, such as rotary embeddings: that is always computed, never answered.
    """

    BATCH = 2

    def __init__(self, net: nn.Module, run: Callable[[], Any]) -> None:
        self.net = net
        self.calls: list[Call] = []
        self._open: list[Call] = []
        self._time = 0
        hooks = []
        for name, module in net.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(self._begin, name), with_kwargs=True))
            hooks.append(module.register_forward_hook(self._end))
        try:
            run()
        finally:
            for hook in hooks:
                hook.remove()

    def _batched(self, found: list[Tensor]) -> bool:
        return all(t.dim() > 0 and t.size(0) % self.BATCH == 0 for t in found)

    def _begin(self, name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        sees_image = any(self._batched([t]) for t in tensors([args, kwargs]))
        call = Call(name, type(module).__name__, self._open[-1] if self._open else None, sees_image, self._tick())
        self.calls.append(call)
        self._open.append(call)

    def _end(self, module: nn.Module, args: tuple, output: Any) -> None:
        call = self._open.pop()
        call.done = self._tick()
        found = tensors(output)
        if not found or not self._batched(found) or all(torch.equal(*_halves(t)) for t in found):
            call.sees_image = False
        if call.sees_image:
            call.output = apply_to(output, lambda leaf: isinstance(leaf, Tensor), self._blank)

    def _blank(self, x: Tensor) -> Blank:
        first, second = _halves(x)
        keep = not x.is_floating_point() and torch.equal(first, second)
        return Blank(len(first), tuple(x.shape[1:]), x.dtype, first.clone() if keep else None)

    def _tick(self) -> int:
        self._time += 1
        return self._time

    def source(self, name: str) -> Call:
        """The one call of a module, by its dotted name in the network, whose output ends a stage.

        Raises:
            ValueError: If it is not called exactly once, or what it gives has no batch dimension.
        """
        calls = [call for call in self.calls if call.name == name]
        if len(calls) != 1 or not calls[0].sees_image:
            kind = type(self.net.get_submodule(name)).__name__
            raise ValueError(f'its {kind} runs {len(calls)} times in a forward pass, not once')
        return calls[0]

    @contextmanager
    def answered(self, source: str, native: Any) -> Iterator[None]:
        """Within it, a forward pass of the network starts after the module ``source``, from its output ``native``."""
        end = self.source(source)
        around = set()
        call = end.parent
        while call is not None:
            around.add(call)
            call = call.parent
        like = tensors(native)[0]
        batch = like.size(0) // blanks(end.output)[0].ratio
        answers: dict[str, deque] = {}
        for call in self.calls:
            outermost = call.parent is None or call.parent in around
            if call is not end and outermost and call.sees_image and call.done < end.done and call not in around:
                answers.setdefault(call.name, deque()).append(call.output)
        answers.setdefault(source, deque()).append(native)
        modules = {self.net.get_submodule(name): outputs for name, outputs in answers.items()}
        own = {module: module.__dict__.get('forward') for module in modules}
        for module, outputs in modules.items():
            module.forward = _answer(module.forward, outputs, batch, like)
        try:
            yield
        finally:
            for module, forward in own.items():
                if forward is None:
                    del module.forward
                else:
                    module.forward = forward


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """What a tensor has of the first image, and of the second."""
    return x[: len(x) // 2], x[len(x) // 2 :]


def _answer(forward: Callable, outputs: deque, batch: int, like: Tensor) -> Callable:
    """Give the outputs one after the other, and run the real forward when they are used up (modules used again)."""

    def answer(*args: Any, **kwargs: Any) -> Any:
        if not outputs:
            return forward(*args, **kwargs)
        # Filled only now, so that the zeros of one module at a time are in memory.
        return apply_to(outputs.popleft(), lambda x: isinstance(x, Blank), lambda x: x.fill(batch, like))

    return answer
