"""Check before training that every hook can work in a distillation."""

from __future__ import annotations

from collections.abc import Iterable

from mmengine.hooks import Hook
from mmpretrain.engine.hooks import DenseCLHook, PrepareProtoBeforeValLoopHook, SwAVHook
from mmrazor.engine.hooks import DMCPSubnetHook, DumpSubnetHook

UNSUITED: dict[type[Hook], str] = {
    DenseCLHook: 'it changes loss_lambda of DenseCL',
    SwAVHook: 'it keeps the queue of the loss of SwAV',
    PrepareProtoBeforeValLoopHook: 'it prepares the prototypes of a retriever',
    DMCPSubnetHook: 'it writes the subnets of a search',
    DumpSubnetHook: 'it writes the subnets of a search',
}
"""Hooks that need a model of their own kind, with their purpose."""


def check_hooks(hooks: Iterable[Hook]) -> None:
    """Check that no hook needs a kind of model other than a distillation.

    Args:
        hooks (iterable): Hooks of the runner of a distillation.

    Raises:
        ValueError: If a hook does. The error names it.

    Examples:
        >>> from mmpretrain.engine.hooks import EMAHook
        >>> from tas_mm.engine.hook_checks import check_hooks
        >>> check_hooks([EMAHook()])
    """
    for hook in hooks:
        for kind, does in UNSUITED.items():
            if isinstance(hook, kind):
                raise ValueError(
                    f'custom_hooks: {type(hook).__name__} cannot work in a distillation, because {does}. Remove it'
                )
