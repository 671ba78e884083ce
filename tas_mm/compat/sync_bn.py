"""MMEngine's conversion to SyncBN (``sync_bn='torch'`` in a config) loses two things that a batch norm may have.

One is hooks, which MMRazor's recorders use. The other is the activation that timm's ``BatchNormAct2d`` holds as a child
and runs in its ``forward``. Once converted, EfficientNet and many other CNNs of timm have no activations at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def adapt(adapted: dict[str, str]) -> None:
    """Keep both in the conversion, in every place where MMEngine converts, if the original loses them."""
    import mmengine.model
    from mmengine._strategy import distributed
    from mmengine.runner import runner

    norm = nn.BatchNorm2d(1)
    norm.register_forward_hook(_run_children)
    if runner.convert_sync_batchnorm(nn.Sequential(norm))[0]._forward_hooks:
        return
    convert = _carrying(runner.convert_sync_batchnorm)
    for module in (mmengine.model, runner, distributed):
        module.convert_sync_batchnorm = convert
    adapted['mmengine (SyncBN)'] = 'conversion to SyncBN keeps recorders, and the activations inside norms of timm'


def _carrying(convert: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    @functools.wraps(convert)
    def carrying(module: nn.Module, implementation: str = 'torch') -> nn.Module:
        norms = {name: child for name, child in module.named_modules() if isinstance(child, _BatchNorm)}
        converted = convert(module, implementation)
        for name, norm in norms.items():
            new = converted.get_submodule(name)
            if len(list(new.children())) and _run_children not in norm._forward_hooks.values():
                new.register_forward_hook(_run_children)
            new._forward_pre_hooks.update(norm._forward_pre_hooks)
            new._forward_hooks.update(norm._forward_hooks)
        return converted

    return carrying


def _run_children(norm: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    for child in norm.children():  # timm's: dropout, then the activation, in the order of its forward
        output = child(output)
    return output
