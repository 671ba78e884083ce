"""Gain from a teacher cache: training steps that run the teacher, and steps that read its outputs from disk."""

from __future__ import annotations

import tempfile

import numpy as np
import torch

from tas_mm.models.distillers import interface_of
from tas_mm.models.teachers.cache import TeacherCache, open_cache

from .step import Step

HEADER = ('config', 'ms, teacher runs', 'ms, cached', 'x time', 'bytes per image', 'losses differ by')
WARM_UP = 1
"""Warm-up rounds, which are not counted."""


def cache_row(name: str, step: Step, rounds: int) -> tuple[str, ...]:
    """Time a step with and without a cache in turn. Return a row under :data:`HEADER`.

    Hashing and reading the images is part of the time. Loading and augmenting them is not, since both steps need it.

    Args:
        name (str): Name of the config.
        step (Step): Step of a distillation that reads only feature and logits of the teacher.
        rounds (int): Number of counted rounds. The ratio is their median.
    """
    with tempfile.TemporaryDirectory() as folder:
        teacher = step.model.teacher
        cache = teacher.cache = open_cache(folder, teacher, interface_of(step.model))
        apart = _difference(step)
        times = _times(step, cache, rounds)
    ratios = np.array(times[True]) / np.array(times[False])
    low, middle, high = (np.percentile(ratios, share) for share in (10, 50, 90))
    return (
        name,
        f'{1000 * np.median(times[False]):.0f}',
        f'{1000 * np.median(times[True]):.0f}',
        f'{middle:.2f} ({low:.2f} to {high:.2f})',
        str(cache.dtype.itemsize + 8),
        f'{apart:.1e}',
    )


@torch.no_grad()
def _difference(step: Step) -> float:
    """Return the largest difference of a loss between the first pass, which fills the cache, and the second."""
    losses = [(torch.manual_seed(0), step.model(**step.data, mode='loss'))[1] for _ in range(2)]
    return max(abs(losses[0][name] - losses[1][name]).item() for name in losses[0])


def _times(step: Step, cache: TeacherCache, rounds: int) -> dict[bool, list[float]]:
    """Time steps without and with the cache in turn."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + WARM_UP):
        for cached in (False, True):
            step.model.teacher.cache = cache if cached else None
            seconds = step.seconds()
            if number >= WARM_UP:
                times[cached].append(seconds)
    return times
