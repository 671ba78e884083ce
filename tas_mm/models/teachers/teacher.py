"""FrozenTeacher: keeps the teacher frozen and hidden.

The network is not a sub-module of the algorithm. So no optimizer, checkpoint, DDP bucket, EMA or SyncBN conversion
includes it, and ``train()`` never reaches it. It stays in eval mode (MMRazor only sets its batch norm, and leaves
DropPath on). It runs without a graph and without its loss, on images with its own normalization.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..knowledge import Observation
from ..observer import Regions
from ..stages import Observer, StageView
from ..utils import Grid, each_tensor, to_float32
from .cache import TeacherCache
from .normalization import normalization_for
from .weights import fingerprint


class FrozenTeacher(nn.Module):
    """A teacher that is never trained, saved or converted, and that copies of the model share.

    Args:
        network (nn.Module): The built teacher with its weights. It is frozen and put in eval mode here.
        student_preprocessor (nn.Module): The student's data preprocessor, whose output the teacher gets.
    """

    def __init__(self, network: nn.Module, student_preprocessor: nn.Module) -> None:
        super().__init__()
        self._hidden = (network.eval().requires_grad_(False),)  # in a tuple, so that torch does not register it
        self.flip, scale, shift = normalization_for(student_preprocessor, network)
        self.register_buffer('scale', scale, persistent=False)
        self.register_buffer('shift', shift, persistent=False)
        self.view: StageView | None = None
        self.size: Grid | None = None
        self.classes: list[int] | None = None
        self.headless = False
        self.dtype: torch.dtype | None = None
        self.cache: TeacherCache | None = None

    def see_as(self, view: StageView | None, images: Grid) -> None:
        """Take image size and classes from the distiller's view of the network.

        Args:
            view (StageView | None): The view. None for an MMRazor distiller.
            images (tuple): Height and width of the student's images.
        """
        self.view = view
        if view is not None:
            self.size = None if view.any_size or tuple(view.input_size) == tuple(images) else view.input_size
            self.classes = view.classes
            self.headless = view.headless

    def keep_in(self, dtype: torch.dtype) -> None:
        """Store the weights in a half-precision type, and run under autocast to it from now on."""
        self.dtype = dtype
        for parameter in self.network.parameters():
            if parameter.dim() > 1:  # norms stay in float32: they are small, and autocast on a CPU requires it
                parameter.data = parameter.data.to(dtype)

    @property
    def network(self) -> nn.Module:
        """The teacher's network."""
        return self._hidden[0]

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks of all teachers, here only one."""
        return self._hidden

    @property
    def each(self) -> tuple[FrozenTeacher, ...]:
        """All teachers, here only this one."""
        return (self,)

    # ---- a step ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def observe(
        self,
        images: Tensor,
        observer: Observer,
        regions: Regions = None,
        run: Callable[[Tensor], Any] | None = None,
    ) -> Observation:
        """Run the teacher, or read its outputs for these images from the cache.

        Args:
            images (Tensor): The student's images, ``(B, C, H, W)``.
            observer (Observer): The distiller's observer of the teacher's network.
            regions (Tensor | callable, optional): Regions ``(N, 5)`` of a detector's batch, as in :class:`Observer`.
                Defaults to None.
            run (callable, optional): Runs the network on the images as it sees them. Defaults to None, the forward
                pass without a loss.
        """
        if self.cache is not None and (known := self.cache.find(images)) is not None:
            return Observation(observer.view, **known)
        if run is None:
            run = partial(self.network, mode='tensor') if observer.view is None else observer.view.run
        with self._autocast(images):
            seen, _ = observer(run, self.normalized(images), regions=regions)
        if self.dtype is not None:
            names = ('feature', 'logits', 'stages', 'pyramid', 'dense_logits')
            exact = {name: each_tensor(to_float32, getattr(seen, name)) for name in names}
            seen = replace(seen, **exact, records=each_tensor(to_float32, seen.records))
        if self.cache is not None:
            self.cache.keep(images, seen.feature, seen.logits)
        return seen

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits ``(B, num_classes)`` for the student's images."""
        with self._autocast(images):
            logits = self.network(self.normalized(images), mode='tensor')
        logits = logits if self.view is None else self.view.logits_of(logits)
        return logits if self.dtype is None else to_float32(logits)

    def normalized(self, images: Tensor) -> Tensor:
        """Convert the student's images to the teacher's size and normalization."""
        images = images.flip(1) if self.flip else images
        if self.size is not None and images.shape[-2:] != self.size:
            images = F.interpolate(images, self.size, mode='bicubic', antialias=True, align_corners=False)
        return images if self.scale is None else images * self.scale + self.shift

    def _autocast(self, images: Tensor) -> AbstractContextManager:
        """Return an autocast for operations that half precision lacks or is too coarse for, as in the assistant."""
        return nullcontext() if self.dtype is None else torch.autocast(images.device.type, self.dtype)

    # ---- identity --------------------------------------------------------------------------------------------------

    def fingerprint(self) -> str:
        """Return a hash of the weights, 16 hex digits."""
        return fingerprint(self.network)

    def description(self) -> dict[str, Any]:
        """Return what a cache must match: weights, normalization, type, image size and classes."""
        normalization = [self.flip, *(t.flatten().tolist() for t in (self.scale, self.shift) if t is not None)]
        classes = '' if self.classes is None else hashlib.blake2b(str(self.classes).encode(), digest_size=8).hexdigest()
        dtype = None if self.dtype is None else str(self.dtype).removeprefix('torch.')
        own = dict(teacher=self.fingerprint(), normalization=normalization, dtype=dtype)
        more = dict(size=list(self.size) if self.size else None, class_map=classes)
        return own | {key: value for key, value in more.items() if value}

    # ---- hidden from training, but moved along ---------------------------------------------------------------------

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in eval mode, whatever the mode."""
        return super().train(False)

    def _apply(self, fn: Callable, recurse: bool = True) -> FrozenTeacher:
        """Move the network too to another device or precision."""
        self.network._apply(fn)
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict) -> FrozenTeacher:
        """Share the teacher with copies of the model, such as EMA's."""
        memo[id(self.network)] = self.network  # for the copy's views of it
        return self
