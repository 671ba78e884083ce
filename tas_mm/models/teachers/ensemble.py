"""TeacherEnsemble: several frozen teachers, each with its own normalization, as one ``model.teacher``."""

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
        teachers (sequence): Frozen teachers.
        weights (sequence): Weight of each teacher, at least 0.
        by_image (bool): Whether the distiller drops teachers image by image. Defaults to False.
    """

    cache = None

    def __init__(self, teachers: Sequence[FrozenTeacher], weights: Sequence[float], by_image: bool = False) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.weights = list(weights)
        self.by_image = by_image

    @property
    def each(self) -> tuple[FrozenTeacher, ...]:
        """All teachers."""
        return tuple(self.teachers)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks of all teachers."""
        return tuple(teacher.network for teacher in self.teachers)

    def observe(self, images: Tensor, observer: Sequence[Observer]) -> tuple[Observation, ...]:
        """Run every teacher under its own observer; see :meth:`FrozenTeacher.observe`."""
        return tuple(teacher.observe(images, each) for teacher, each in zip(self.teachers, observer))

    def logits(self, images: Tensor) -> Tensor:
        """Return logits ``(B, num_classes)`` whose softmax is the weighted mean of the probabilities.

        Teachers without a head do not count.
        """
        with_head = [(teacher, weight) for teacher, weight in zip(self.teachers, self.weights) if not teacher.headless]
        total = sum(weight for _, weight in with_head)
        shares = [weight / total * teacher.logits(images).float().softmax(dim=1) for teacher, weight in with_head]
        return torch.log(sum(shares).clamp_min(1e-12))

    def keep_in(self, dtype: torch.dtype) -> None:
        """Store all weights in a half-precision type."""
        for teacher in self.teachers:
            teacher.keep_in(dtype)

    def fingerprint(self) -> str:
        """Return a hash of all weights, 16 hex digits."""
        each = ' '.join(teacher.fingerprint() for teacher in self.teachers)
        return hashlib.blake2b(each.encode(), digest_size=8).hexdigest()

    def train(self, mode: bool = True) -> TeacherEnsemble:
        """Stay in eval mode."""
        return super().train(False)
