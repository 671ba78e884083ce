"""Groups of parameters as large as they can be.

Where ``paramwise_cfg`` is set MMEngine makes an optimizer group of every single parameter. torch's multi-tensor and
fused optimizers take a group at a time, so each of their kernels would get one tensor.
"""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from tas_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class JoinedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with one group for all parameters that have the same options; the updates are the same.

    ``optim_wrapper=dict(constructor='tas_mm.JoinedOptimWrapperConstructor', ...)``. All else as in MMEngine.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Add all parameters of a module to the groups, which are changed in place."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return  # a part of the model: its parameters are joined with all others
        joined: dict[str, dict] = {}
        for group in params:
            options = repr({key: value for key, value in group.items() if key != 'params'})  # values may be lists
            joined.setdefault(options, {**group, 'params': []})['params'] += group['params']
        params[:] = joined.values()
