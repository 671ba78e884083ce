"""Several teachers at once: each frozen, each seeing images its own way, together one ``model.teacher``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..knowledge import Observation
from ..stages import Observer
from .teacher import FrozenTeacher


class TeacherEnsemble(nn.Module):
    """Teachers that run one after the other on the same images.

    Args:
        teachers (sequence): Frozen teachers of the same number of classes.
        weights (sequence): Weight of each, at least 0.
    """

    cache = None

    def __init__(self, teachers: Sequence[FrozenTeacher], weights: Sequence[float]) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.weights = list(weights)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks of all teachers."""
        return tuple(teacher.network for teacher in self.teachers)

    def observe(
        self, images: Tensor, observer: Sequence[Observer], regions: Tensor | None = None
    ) -> tuple[Observation, ...]:
        """Run every teacher under its own observer; see :meth:`FrozenTeacher.observe`."""
        return tuple(teacher.observe(images, each, regions) for teacher, each in zip(self.teachers, observer))

    def logits(self, images: Tensor) -> Tensor:
        """Return logits ``(B, num_classes)`` whose softmax is the weighted mean of the teachers' probabilities."""
        mean = 0.0
        for teacher, weight in zip(self.teachers, self.weights):
            mean = mean + weight / sum(self.weights) * teacher.logits(images).float().softmax(dim=1)
        return torch.log(mean.clamp_min(1e-12))

    def keep_in(self, dtype: torch.dtype) -> None:
        """Keep all weights in a narrow type."""
        for teacher in self.teachers:
            teacher.keep_in(dtype)

    def fingerprint(self) -> str:
        """Return a hash of all weights, 16 hex digits."""
        each = ' '.join(teacher.fingerprint() for teacher in self.teachers)
        return hashlib.blake2b(each.encode(), digest_size=8).hexdigest()

    def train(self, mode: bool = True) -> TeacherEnsemble:
        """Stay in eval mode."""
        return super().train(False)
