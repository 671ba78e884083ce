"""Shard a large teacher over the processes. Each keeps a part of every block, and gathers a block while it runs.

PyTorch's ``fully_shard`` (FSDP2) does the work. The student stays with DDP, since it is small. MMEngine's
``FSDPStrategy`` would only shard the model that it wraps, and the teacher is not a part of that.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from tas_mm.models.stages import StageView, view_of
from tas_mm.models.stages.trace import Call, Trace
from tas_mm.models.utils import PROBE, teacher_autocast, unwrap
from tas_mm.registry import HOOKS

CONTAINERS = (nn.ModuleList, nn.Sequential)


def shard(teacher: nn.Module) -> None:
    """Replace the blocks' parameters by this process's part. Every process must call it and run the teacher.

    Args:
        teacher (nn.Module): A frozen classifier. Modules that are not in lists of blocks, such as the stem, stay whole.
    """
    from torch.distributed.fsdp import fully_shard  # torch 2.6

    mesh = init_device_mesh(get_device(), (get_world_size(),))
    for block in _blocks(view_of(teacher, key='model.teacher')):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)


def _blocks(view: StageView) -> list[nn.Module]:
    """Find the outermost modules in lists and sequences that run completely inside their own forward."""
    autocast, _ = teacher_autocast(view.net, torch.zeros(0, device=next(view.net.parameters()).device))
    with autocast:
        calls = Trace(view.net, lambda: view.look(PROBE)).calls

    def runs_as_one(name: str) -> bool:
        inside = [call for call in calls if call.name.startswith(f'{name}.')]
        return any(call.name == name for call in calls) and all(name in _around(call) for call in inside)

    def search(module: nn.Module, prefix: str) -> Iterator[nn.Module]:
        for child_name, child in module.named_children():
            name = f'{prefix}{child_name}'
            is_block = isinstance(module, CONTAINERS) and not isinstance(child, CONTAINERS) and runs_as_one(name)
            if not is_block:
                yield from search(child, f'{name}.')
            elif any(True for _ in child.parameters()):
                yield child

    return list(search(view.net, ''))


def _around(call: Call) -> Iterator[str]:
    """Yield the names of the modules inside of which a call happened."""
    while call.parent is not None:
        call = call.parent
        yield call.name


@HOOKS.register_module()
class ShardTeacherHook(Hook):
    """Shard the teacher when training starts. With a single process it stays whole."""

    priority = 'LOW'  # TeacherFingerprintHook reads the whole weights first

    def before_train(self, runner: Runner) -> None:
        """Shard every teacher.

        Raises:
            ValueError: If the teacher has a cache.
        """
        if not is_distributed():
            return
        teacher = unwrap(runner.model).teacher
        if teacher.cache is not None:
            raise ValueError(
                'model.teacher_cache: a sharded teacher runs on all processes at once, but images that are cached for '
                'one may be new to another. Remove either teacher_cache or ShardTeacherHook'
            )
        for network in teacher.networks:
            shard(network)
