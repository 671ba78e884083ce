"""Sides: how a distiller takes each of the two networks (image size, feature, and classes)."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import nn

from ..pooling import FEATURES
from ..stages import StageView, view_of
from ..utils import Grid

KEY = 'model.distiller'


@dataclass(frozen=True)
class Sides:
    """Options of a distiller for its two networks.

    Attributes:
        input_size (tuple | int, optional): Height and width of the training images. Defaults to None: the size that the
            networks declare, or 224.
        teacher_size (tuple | int, optional): Height and width to which the images are resized for the teacher.
            Defaults to None: ``input_size`` if the teacher takes it, or the size that the teacher was built for.
        student_feature (str, optional): Feature of a network without a head: ``'output'``, the network's output (pooled
            if it is a map or tokens), ``'class_token'``, or ``'mean'`` over all positions. If set for a network with a
            head, the head is not used. Defaults to None: the head's input, or ``'output'`` without a head.
        teacher_feature (str, optional): The same for the teacher. Defaults to None.
        teacher_classes (sequence | str, optional): For each class of the student, the index of that class in a teacher
            trained on other classes, or a file of such indices (JSON, or one per line). Defaults to None: the same
            classes in the same order.

    Raises:
        ValueError: If an option has an invalid value.

    Examples:
        >>> from tas_mm.models.distillers import Sides
        >>> Sides(input_size=224, teacher_size=518).teacher_size
        (518, 518)
    """

    input_size: Any = None  # a Grid or None, once it is built
    teacher_size: Any = None
    student_feature: str | None = None
    teacher_feature: str | None = None
    teacher_classes: Any = None  # a list of indices or None, once it is built

    def __post_init__(self) -> None:
        for name in ('input_size', 'teacher_size'):
            object.__setattr__(self, name, _size(getattr(self, name), f'{KEY}.{name}'))
        for name in ('student_feature', 'teacher_feature'):
            if getattr(self, name) not in (None, *FEATURES):
                raise ValueError(
                    f'{KEY}.{name}={getattr(self, name)!r}. Expected one of {", ".join(map(repr, FEATURES))}'
                )
        if self.teacher_classes is not None:
            object.__setattr__(self, 'teacher_classes', read_classes(self.teacher_classes))

    def view_student(self, model: nn.Module, size: Grid | None) -> StageView:
        """Take a view of the student at a size."""
        return view_of(model, size, 'model.architecture', self.student_feature)

    def view_teacher(self, model: nn.Module) -> StageView:
        """Take a view of the teacher at its own image size.

        Raises:
            ValueError: If an index in ``teacher_classes`` is not a class of the teacher.
        """
        size = self.teacher_size or self._size_it_takes(model)
        view = view_of(model, size, 'model.teacher', self.teacher_feature)
        if self.teacher_classes is None:
            return view
        if view.headless:
            raise ValueError(f'{KEY}.teacher_classes: the teacher has no head, so it has no classes. Remove the option')
        count = view.count_classes()
        wrong = [(i, index) for i, index in enumerate(self.teacher_classes) if index >= count]
        if wrong:
            raise ValueError(
                f"{KEY}.teacher_classes: class {wrong[0][0]} of the student is the teacher's {wrong[0][1]}, but "
                f'model.teacher has {count} classes. Expected 0 to {count - 1}'
            )
        return view_of(model, size, 'model.teacher', None, self.teacher_classes)

    def _size_it_takes(self, model: nn.Module) -> Grid | None:
        """Return ``input_size``, or the size that the teacher was built for if it does not take ``input_size``."""
        if self.input_size is None:
            return None
        view = view_of(model, self.input_size, 'model.teacher')
        declared = view.declared_size()
        if declared and tuple(declared) != self.input_size:
            try:
                view.look()
            except ValueError:
                return declared
        return self.input_size

    def agree(self, student: StageView, teacher: StageView) -> tuple[StageView, StageView]:
        """Take new views at the sizes that the networks declare, if the config does not set them."""
        if self.input_size is None:
            images = student.declared_size() or (None if self.teacher_size else teacher.declared_size())
            student = self.view_student(student.model, images)
            if self.teacher_size is None and teacher.declared_size() is None:
                teacher = view_of(teacher.model, images, teacher.key, self.teacher_feature, self.teacher_classes)
        ours, theirs = student.input_size, teacher.input_size
        if ours != theirs and not teacher.any_size:
            print_log(
                f'model.teacher sees images of {theirs[0]}x{theirs[1]}, resized from {ours[0]}x{ours[1]}',
                logger='current',
                level=logging.INFO,
            )
        return student, teacher


def _size(value: Any, key: str) -> Grid | None:
    size = (value, value) if isinstance(value, int) else value
    if size is None:
        return None
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f'{key}={value!r}. Expected a number of pixels, or height and width')
    return size[0], size[1]


def read_classes(classes: Any) -> list[int]:
    """Read the teacher's index for each class of the student.

    Args:
        classes (sequence | str): The indices, or a file of them: JSON, or text with one index per line.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If an entry is missing, is not an index, or occurs twice.
    """
    key = f'{KEY}.teacher_classes'
    if isinstance(classes, (str, Path)):
        key, path = f'{key}={str(classes)!r}', Path(classes)
        if not path.is_file():
            raise FileNotFoundError(
                f'{key} does not exist (relative to {Path.cwd()}). Expected a list of indices, or a file of them'
            )
        text = path.read_text()
        classes = json.loads(text) if text.lstrip().startswith('[') else [_index(line) for line in text.splitlines()]
    classes = list(classes)
    for i, index in enumerate(classes):
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise ValueError(
                f'{key}: class {i} of the student has {index!r}. Expected the index of a class of the teacher'
            )
    first: dict[int, int] = {}
    for i, index in enumerate(classes):
        if first.setdefault(index, i) != i:
            raise ValueError(
                f"{key}: the teacher's class {index} is given for the student's {first[index]} and {i}. Expected a "
                'different class for each'
            )
    return classes


def _index(line: str) -> int | str:
    """Return the number in a line, or else the line, for the error message."""
    return int(line) if line.strip().isdigit() else line
