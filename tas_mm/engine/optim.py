"""Merge groups of parameters, so that they are as large as possible.

With ``paramwise_cfg``, MMEngine makes an optimizer group of every single parameter. torch's multi-tensor and fused
optimizers process one group at a time, so each of their kernels would get one tensor.
"""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from tas_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class JoinedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with one group for all parameters that share their options. The updates are the same.

    ``optim_wrapper=dict(constructor='tas_mm.JoinedOptimWrapperConstructor', ...)``. Everything else is as in MMEngine.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Add all parameters of a module to the groups, in place."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return  # a part of the model, whose parameters are joined with the others at the top level
        joined: dict[str, dict] = {}
        for group in params:
            options = repr({key: value for key, value in group.items() if key != 'params'})  # values may be lists
            joined.setdefault(options, {**group, 'params': []})['params'] += group['params']
        params[:] = joined.values()
