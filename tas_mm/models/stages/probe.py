"""What a model's modules tell: channels of images, linear layers, outputs in a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..utils import each_tensor


def image_channels(model: nn.Module) -> int:
    """Return the channels of the images that a network takes: those of its first convolution; 3 if it has none."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)


def linear_layers(model: nn.Module, within: str = '') -> list[str]:
    """Return the dotted names of a model's linear layers, without those of distillation tokens."""
    named = ((name, m) for name, m in model.named_modules() if name.startswith(within))
    return [name for name, m in named if isinstance(m, nn.Linear) and 'dist' not in name]


@contextmanager
def outputs_of(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Keep copies of the last outputs of some modules, by name; copies, since later modules may write into them."""
    seen: dict[str, Any] = {}

    def keep(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        seen[name] = each_tensor(Tensor.clone, output)

    hooks = [model.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def relative_error(found: Tensor | None, wanted: Tensor) -> float:
    """Return the largest difference over the largest value; infinity if nothing was found."""
    return float('inf') if found is None else float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
