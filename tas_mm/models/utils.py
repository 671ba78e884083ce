"""Shared helpers of ``models``: precision, modes, and the size and shape of maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.utils.misc import apply_to
from torch import Tensor, nn

Grid = tuple[int, int]
"""Height and width of a map, in cells."""

DEFAULT_SIZE = (224, 224)
"""Height and width of the images for a network that declares none."""

PROBE = 2
"""Number of images in a probing pass. They differ, so that per-image tensors can be told from constants."""

REDUCTIONS = ('mean', 'none')
"""Reductions of a loss with one value per image: the mean, or the values."""

CHECKPOINTING = ('with_cp', 'use_checkpoint', 'grad_checkpointing')
"""Attributes that switch on activation checkpointing in modules of MMPretrain and timm."""


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside of MMEngine's wrappers, such as DDP's."""
    while is_model_wrapper(model):
        model = model.module
    return model


def to_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32. float32 and float64 stay as they are."""
    return x.float() if x.is_floating_point() and x.itemsize < 4 else x


def each_tensor(function: Any, data: Any) -> Any:
    """Apply a function to every tensor in nested tuples, lists and dicts."""
    return apply_to(data, lambda leaf: isinstance(leaf, Tensor), function)


def tensors(data: Any) -> list[Tensor]:
    """Return the tensors in nested tuples, lists and dicts, in order."""
    found: list[Tensor] = []

    def keep(leaf: Tensor) -> Tensor:
        found.append(leaf)
        return leaf

    each_tensor(keep, data)
    return found


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode without gradients, and restore the mode of every module afterwards."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def checkpointing_off(model: nn.Module) -> Iterator[None]:
    """Switch off a model's activation checkpointing, which would rerun modules after hooks and buffers are restored."""
    switched = [(m, name) for m in model.modules() for name in CHECKPOINTING if getattr(m, name, False) is True]
    for module, name in switched:
        setattr(module, name, False)
    try:
        yield
    finally:
        for module, name in switched:
            setattr(module, name, True)


def teacher_autocast(model: nn.Module, x: Tensor) -> tuple[AbstractContextManager, Tensor]:
    """Return a bfloat16 autocast if a model is stored in bfloat16, and its input in a type that autocast accepts.

    Autocast handles one half-precision type at a time: float16, from an outer autocast, becomes float32.
    """
    if x.dtype == torch.bfloat16 or all(p.dtype != torch.bfloat16 for p in model.parameters()):
        return nullcontext(), x
    return torch.autocast(x.device.type, torch.bfloat16), x.float()
