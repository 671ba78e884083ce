"""Handle the results of evaluators, and copy evaluators for teacher and assistant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from os import path
from typing import Any

import numpy as np
from mmengine.evaluator import Evaluator
from torch import Tensor

PLACES = re.compile(r'^(out|save|dump|result)\w*(path|file|prefix|dir|folder)$')
"""Attributes in which a metric stores its output path."""


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are single numbers. Others may be a list, a vector or a matrix.

    Args:
        metrics (Mapping): Metrics by name.
    """
    found = {}
    for name, value in metrics.items():
        if isinstance(value, (int, float, np.number)):
            found[name] = float(value)
        elif isinstance(value, (Tensor, np.ndarray)) and np.prod(value.shape) == 1:
            found[name] = float(value.reshape(-1)[0])
    return found


def describe(metrics: Mapping[str, Any]) -> str:
    """Format metrics for a log: numbers, and the shape of larger ones."""
    numbers = scalars(metrics)
    texts = {name: f'{numbers[name]:.2f}' if name in numbers else _shape(value) for name, value in metrics.items()}
    return ', '.join(f'{name} {text}' for name, text in texts.items())


def evaluator_for(role: str, evaluator: Evaluator) -> Evaluator:
    """Copy an evaluator for another network. Its output files get the network's name.

    The predictions that ``DumpResults`` writes to ``run/predictions.pkl`` go to ``run/teacher.predictions.pkl``.

    Args:
        role (str): ``'teacher'`` or ``'assistant'``.
        evaluator (Evaluator): The student's evaluator.
    """
    copied = deepcopy(evaluator)
    for metric in copied.metrics:
        for name, value in vars(metric).items():
            if isinstance(value, str) and value and PLACES.search(name):
                folder, file = path.split(path.normpath(value))
                setattr(metric, name, path.join(folder, f'{role}.{file}' if file not in ('', '.') else role))
    return copied


def _shape(value: Any) -> str:
    return 'x'.join(map(str, np.shape(value))) or type(value).__name__
