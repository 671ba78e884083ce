"""Convert the student's images to the teacher's normalization: order of channels, mean and std.

Mean and std are in the units of the pixels (0 to 255 in MMPretrain), and belong to an order of channels.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..sources import HUGGING_FACE, TIMM
from ..stages import image_channels

Statistics = tuple[Tensor, Tensor]
"""Mean and std, each ``(C, 1, 1)``."""

RGB_ONLY = (TIMM.wrapper, TIMM.backbone, HUGGING_FACE.wrapper, HUGGING_FACE.backbone, 'ModuleTeacher')
"""Classes of networks trained on RGB, whatever a preprocessor says about the data set's order."""

KNOWN_MEANS = (
    (123.675, 116.28, 103.53),  # ImageNet
    (125.307, 122.961, 113.8575),  # CIFAR-10
    (129.304, 124.070, 112.434),  # CIFAR-100
    (122.771, 116.746, 104.094),  # CLIP
)
"""Known means in RGB, to infer the order of channels if the student's preprocessor does not declare it."""
GENERIC_MEANS = (0.0, 127.0, 127.5, 128.0)
"""Equal means that are not measured on images, so that they say nothing about them."""


class Normalization(NamedTuple):
    """Transform from the student's images to the teacher's.

    Attributes:
        flip (bool): Whether to swap RGB and BGR.
        scale (Tensor | None): Factor ``(C, 1, 1)`` in the teacher's order. None for 1.
        shift (Tensor | None): Offset ``(C, 1, 1)``, added afterwards. None for 0.
    """

    flip: bool = False
    scale: Tensor | None = None
    shift: Tensor | None = None


def normalization_for(student: nn.Module, teacher: BaseModel) -> Normalization:
    """Infer the transform between the normalizations of two networks.

    A timm teacher whose config sets no mean and std uses those of its pretrained tag. A Hugging Face teacher uses those
    of its image processor. Any other such teacher uses the student's.

    Args:
        student (nn.Module): The student's data preprocessor, with buffers ``mean`` and ``std`` of shape ``(C, 1, 1)``
            if it normalizes.
        teacher (BaseModel): The teacher, with a data preprocessor of the same kind.

    Raises:
        ValueError: If the student's order of channels cannot be inferred.
    """
    flip = _flips(student, teacher)
    wanted = _statistics(teacher.data_preprocessor) or _published_statistics(teacher)
    if wanted is None:
        return Normalization(flip)
    given = _statistics(student)
    if given is None:
        print_log(
            'data_preprocessor has no mean and std, so images are assumed to be pixels from 0 to 255, and are '
            'normalized from that for model.teacher. If the pipeline normalizes them, use data_preprocessor instead',
            logger='current',
            level=logging.WARNING,
        )
        given = torch.zeros_like(wanted[0]), torch.ones_like(wanted[1])
    if flip:
        given = given[0].flip(0), given[1].flip(0)
    if torch.equal(given[0], wanted[0]) and torch.equal(given[1], wanted[1]):
        return Normalization(flip)
    return Normalization(flip, given[1] / wanted[1], (given[0] - wanted[0]) / wanted[1])


def _flips(student: nn.Module, teacher: BaseModel) -> bool:
    """Return True if the teacher needs the channels in another order than the student.

    ``to_rgb`` says whether a preprocessor reverses the data set's order. Two of MMPretrain's networks see the same data
    set, so their orders differ if their ``to_rgb`` differ. Networks of timm, of Hugging Face and plain modules need
    RGB, which the student sees if its preprocessor produces it.
    """
    preprocessor = teacher.data_preprocessor
    if image_channels(teacher) != 3:
        return False
    student_turns, teacher_turns = _turns(student), _turns(preprocessor)
    if not _wants_rgb(teacher):
        return _statistics(preprocessor) is not None and student_turns != teacher_turns
    if student_turns or _statistics(student) is None or _statistics(preprocessor) is not None or teacher_turns:
        return teacher_turns and not student_turns
    order = _order_of(student.mean.flatten())
    if order is None:
        raise ValueError(
            'model.teacher needs RGB, but data_preprocessor.to_rgb=False keeps the order of the data set: BGR for '
            'image files, RGB for sets such as CIFAR. Give the teacher a data_preprocessor with its mean, std and '
            'to_rgb: False if the data set is RGB, True to swap red and blue'
        )
    return order == 'bgr'


def _order_of(mean: Tensor) -> str | None:
    """Return the channel order of a mean, if it is a well-known one or that of gray images."""
    if len({*mean.tolist()}) == 1 and float(mean[0]) not in GENERIC_MEANS:
        return 'rgb'  # measured on gray images in three equal channels, so the order does not matter
    for known in KNOWN_MEANS:
        if torch.allclose(mean.cpu().float(), torch.tensor(known), atol=0.1):
            return 'rgb'
        if torch.allclose(mean.cpu().float(), torch.tensor(known[::-1]), atol=0.1):
            return 'bgr'
    return None


def _turns(preprocessor: nn.Module) -> bool:
    """Return True if a preprocessor reverses the order of channels. Detectors' have the option under another name."""
    return bool(getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', False)))


def _wants_rgb(teacher: nn.Module) -> bool:
    networks = teacher, getattr(teacher, 'backbone', None)
    return any(cls.__name__ in RGB_ONLY for network in networks for cls in type(network).__mro__)


def _statistics(preprocessor: nn.Module) -> Statistics | None:
    return (preprocessor.mean, preprocessor.std) if hasattr(preprocessor, 'mean') else None


def _published_statistics(model: nn.Module) -> Statistics | None:
    """Return the mean and std published with a network: in timm's tag, or in Hugging Face's image processor."""
    found = TIMM.tag(model) or HUGGING_FACE.image_processor(model)
    if found is None:
        return None
    statistics = [255 * torch.tensor(found[key]).view(-1, 1, 1) for key in ('mean', 'std')]
    if image_channels(model) == 1:  # published values are for color images
        statistics = [each.mean(dim=0, keepdim=True) for each in statistics]
    return tuple(statistics)
