"""The student's own loss in a batch where some images have no label."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

LOSS = 'loss_module'
"""Attribute name of the loss in MMPretrain's heads and classifiers."""


@contextmanager
def labeled_alone(student: nn.Module, samples: list[BaseDataElement]) -> Iterator[list[BaseDataElement]]:
    """Make the student's loss see only the labeled images of a batch.

    The network runs on the whole batch. Unlabeled images get a dummy label to pass through the head. Their rows are
    removed where the head calls its loss.

    Args:
        student (nn.Module): A classifier.
        samples (list): Data samples of the batch, some of them with a label.

    Yields:
        list: Data samples to call the student with.

    Raises:
        ValueError: If the student has no module named ``loss_module``.
    """
    labeled = [i for i, sample in enumerate(samples) if 'gt_label' in sample or 'gt_score' in sample]
    losses = [module for name, module in student.named_modules() if name.rpartition('.')[2] == LOSS]
    if not losses:
        raise ValueError(
            f'model.architecture: {type(student).__name__} has no {LOSS}, so its loss cannot skip the images without '
            'a label. Label all images, or set model.calculate_student_loss=False'
        )
    hooks = [module.register_forward_pre_hook(_Rows(labeled), with_kwargs=True) for module in losses]
    known = samples[labeled[0]]
    try:
        yield [sample if i in labeled else _filled(sample, known) for i, sample in enumerate(samples)]
    finally:
        for hook in hooks:
            hook.remove()


class _Rows:
    """Pre-hook that keeps only the labeled rows of a loss's arguments."""

    def __init__(self, labeled: list[int]) -> None:
        self.labeled = labeled

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        size = len(args[0])
        rows = lambda x: x[self.labeled] if isinstance(x, Tensor) and x.dim() and len(x) == size else x  # noqa: E731
        kwargs = {name: rows(value) for name, value in kwargs.items()}
        if kwargs.get('avg_factor') is not None:
            kwargs['avg_factor'] = len(self.labeled)
        return tuple(map(rows, args)), kwargs


def _filled(sample: BaseDataElement, known: BaseDataElement) -> Any:
    """Copy a sample and give it a dummy label of the same form as a labeled sample's."""
    copy = sample.clone()
    for name in ('gt_label', 'gt_score'):
        if name in known:
            copy.set_field(torch.zeros_like(known.get(name)), name)
    return copy
