"""The assistant's own batch norm statistics, for a late part that belongs to the student."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..stages import StageView
from ..utils import checkpointing_off, eval_mode

STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


class OwnStatistics(nn.Module):
    """The assistant's running statistics for the batch norms of a late part that belongs to the student.

    The two passes through these norms see different features, so each pass has its own running statistics. The student
    is validated and saved as if there were no assistant. The assistant is validated as it was trained.

    Args:
        view (StageView): View of the student.
        start (int): Number of the first late stage.
    """

    def __init__(self, view: StageView, start: int) -> None:
        super().__init__()
        self.view = view  # not a module, so not registered
        self.names = self._seen(start)
        for name in self.names:
            norm = view.model.get_submodule(name)
            for statistic in STATISTICS:
                fresh = torch.ones_like if statistic == 'running_var' else torch.zeros_like
                self.register_buffer(self._key(name, statistic), fresh(getattr(norm, statistic)))

    def _seen(self, start: int) -> list[str]:
        """Return the names of the batch norms with running statistics that the tail runs."""
        norms = {name: m for name, m in self.view.model.named_modules() if isinstance(m, _BatchNorm)}
        norms = {name: norm for name, norm in norms.items() if norm.running_mean is not None}
        seen: list[str] = []
        hooks = [m.register_forward_pre_hook(lambda *_, name=n: seen.append(name)) for n, m in norms.items()]
        try:
            with eval_mode(self.view.model):
                channels, *grid = self.view.shape(f'stage{start - 1}')
                x = next(self.view.model.parameters()).new_zeros(1, channels, *grid)
                self.view.tail(self.view.from_map(x, start - 1), start)
        finally:
            for hook in hooks:
                hook.remove()
        return list(dict.fromkeys(seen))

    @staticmethod
    def _key(name: str, statistic: str) -> str:
        return f'{name}.{statistic}'.replace('.', '-')  # names of buffers may not have dots

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Make the norms use and update the assistant's statistics in place of the student's.

        A norm that has never trained (frozen from the start, as ``norm_eval`` does) uses the student's in both passes.
        Activation checkpointing is off: it would rerun the norms in the backward pass, outside of this context.
        """
        norms = {name: self.view.model.get_submodule(name) for name in self.names}  # by name: SyncBN replaces them
        norms = {n: m for n, m in norms.items() if m.training or self._buffers[self._key(n, STATISTICS[-1])] > 0}
        students = {name: {key: norm._buffers[key] for key in STATISTICS} for name, norm in norms.items()}
        for name, norm in norms.items():
            norm._buffers.update({key: self._buffers[self._key(name, key)] for key in STATISTICS})
        try:
            with checkpointing_off(self.view.model):
                yield
        finally:
            for name, norm in norms.items():
                norm._buffers.update(students[name])
