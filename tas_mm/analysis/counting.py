"""Count the operations of convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from tas_mm.models.utils import eval_mode


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Count the operations of convolutions and matrix products, two per multiply-add.

    Meanwhile attention runs unfused, because the counter does not know the CPU's fused kernel.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


def cost(run: Callable, *inputs: Any, model: nn.Module | None = None) -> tuple[int, int]:
    """Count multiply-adds and activations of one forward pass in eval mode, without gradients.

    Args:
        run (callable): Function to call with the inputs.
        *inputs: Inputs of the function.
        model (nn.Module, optional): Module to put in eval mode. Defaults to ``run``.

    Returns:
        tuple: Multiply-adds, and elements of the outputs of these operations (activations as in arXiv 2103.06877).

    Examples:
        >>> import torch
        >>> from tas_mm.analysis.counting import cost
        >>> cost(torch.nn.Linear(10, 4), torch.zeros(1, 10))
        (40, 4)
    """
    activations = _Activations()
    with eval_mode(model or run), activations, counting() as counter:
        run(*inputs)
    return counter.get_total_flops() // 2, activations.count


class _Activations(TorchDispatchMode):
    """Counts the elements of the outputs of all operations that torch's flop counter knows."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.count += out.numel()
        return out
