"""Shares of a training step: teacher, student, assistant, losses, backward pass, optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from tas_mm.models.distillers import interface_of

from ..counting import counting
from ..tables import Rows
from .step import Step

PARTS = ('teacher forward', 'student forward', 'assistant forward', 'losses and the rest', 'backward', 'optimizer')
HEADER = ('part', 'ms', 'time', 'multiply-adds')
WARM_UP = 2
"""Warm-up rounds, which are not counted."""


def profile_rows(step: Step, rounds: int) -> Rows:
    """List time and share of multiply-adds of every part of a step, under :data:`HEADER`.

    Args:
        step (Step): Step of a distillation.
        rounds (int): Number of counted rounds. The times are their medians.
    """
    taken = [profile(step, step.now) for _ in range(rounds + WARM_UP)][WARM_UP:]
    times = {part: np.median([amounts[part] for amounts in taken]) for part in PARTS}
    with counting() as counter:
        counts = profile(step, counter.get_total_flops)
    seconds, operations = sum(times.values()), sum(counts.values())
    rows = [
        (part, f'{times[part] * 1e3:.1f}', f'{times[part] / seconds:.1%}', f'{counts[part] / operations:.1%}')
        for part in PARTS
        if times[part]  # without an assistant, its time is 0
    ]
    return [*rows, ('step', f'{seconds * 1e3:.1f}', '100%', f'{operations / 2e9:.2f} G')]


def profile(step: Step, meter: Callable[[], float]) -> dict[str, float]:
    """Take a step. Return how far the meter advanced in each part."""
    model, optimizer, assistant = step.model, step.optimizer, interface_of(step.model).assistant
    amounts = dict.fromkeys(PARTS, 0.0)
    with (
        _metered(model.teacher, 'observe', 'teacher forward', amounts, meter),
        _metered(model.student, 'forward', 'student forward', amounts, meter),
        _metered(assistant, 'forward', 'assistant forward', amounts, meter) if assistant is not None else nullcontext(),
        _metered(optimizer, 'backward', 'backward', amounts, meter),
        _metered(optimizer, 'step', 'optimizer', amounts, meter),
    ):
        start = meter()
        step.take()
        amounts['losses and the rest'] = meter() - start - sum(amounts.values())
    return amounts


@contextmanager
def _metered(
    owner: Any, method: str, part: str, amounts: dict[str, float], meter: Callable[[], float]
) -> Iterator[None]:
    """Add to ``amounts[part]`` what ``meter`` advances in each call of a method."""
    original = getattr(owner, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        start = meter()
        result = original(*args, **kwargs)
        amounts[part] += meter() - start
        return result

    owner.__dict__[method] = call
    try:
        yield
    finally:
        del owner.__dict__[method]
