"""Several teachers at once: each frozen, each seeing images its own way, together one ``model.teacher``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor, nn

from .teacher import build_teacher, renormalisation

Several = (list, tuple)


class TeacherGroup(BaseModel):
    """Teachers that run one after the other on the same images.

    Args:
        teachers (sequence): Built teachers of the same number of classes.
        weights (sequence): Weight of each, of at least 0.
    """

    def __init__(self, teachers: Sequence[BaseModel], weights: Sequence[float]) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.weights = list(weights)

    def normalise_from(self, student: nn.Module) -> None:
        """Take images as the student's preprocessor gives them, and let each teacher see them normalised its way."""
        for i, teacher in enumerate(self.teachers):
            for name, value in zip(('scale', 'shift'), renormalisation(student, teacher) or (None, None)):
                self.register_buffer(f'_{name}{i}', value)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> Tensor:
        """Logits ``(B, num_classes)`` whose softmax is the weighted mean of the teachers' probabilities."""
        mean = 0.0
        for i, (teacher, weight) in enumerate(zip(self.teachers, self.weights)):
            scale, shift = getattr(self, f'_scale{i}', None), getattr(self, f'_shift{i}', None)
            logits = teacher(inputs if scale is None else inputs * scale + shift, mode='tensor')
            mean = mean + weight / sum(self.weights) * logits.float().softmax(dim=1)
        return mean.clamp_min(1e-12).log()


def build_teachers(
    teacher: Any, checkpoint: str | Sequence[str | None] | None, weights: Sequence[float] | None
) -> BaseModel:
    """Build a teacher, or several as a group.

    Args:
        teacher: One as :func:`build_teacher` takes it, or a list of such.
        checkpoint (str | sequence, optional): File or URL of its weights; of several one each, or None.
        weights (sequence, optional): Of several, how much each counts. Defaults to None: all the same, 1 in sum.

    Raises:
        ValueError: If the lists do not fit one another, or a weight is none. What is wrong with one of several teachers
            is said with its number.
    """
    if not isinstance(teacher, Several):
        for key, value in (('teacher_ckpt', checkpoint), ('teacher_weights', weights)):
            if isinstance(value, Several):
                raise ValueError(
                    f'model.{key}={value!r} is a list, but model.teacher is one teacher; give a list of them'
                )
        return build_teacher(teacher, checkpoint)
    count = len(teacher)
    checkpoints = [None] * count if checkpoint is None else checkpoint
    weights = [1 / count] * count if weights is None else weights
    for key, value in (('teacher_ckpt', checkpoints), ('teacher_weights', weights)):
        if not isinstance(value, Several) or len(value) != count:
            raise ValueError(f'model.{key}={value!r}, but model.teacher has {count}: valid is a list of {count}')
    if not all(isinstance(w, (int, float)) and 0 <= w < math.inf for w in weights) or not any(weights):
        raise ValueError(f'model.teacher_weights={weights!r}, but valid are numbers of at least 0, not all of them 0')
    built = []
    for i, pair in enumerate(zip(teacher, checkpoints)):
        try:
            built.append(build_teacher(*pair))
        except (TypeError, ValueError, FileNotFoundError) as error:
            raise type(error)(f'{error} (number {i} of model.teacher)') from error
    return TeacherGroup(built, weights)
