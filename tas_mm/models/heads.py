"""Logits and predictions of classifiers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .utils import eval_mode


def logits_of(output: Any) -> Tensor:
    """Return the logits ``(B, K)`` from a network's output: a tensor, a tuple, or an output of transformers."""
    output = getattr(output, 'logits', output)
    return output[0] if isinstance(output, (tuple, list)) else output


def sum_of_branches(output: Any) -> Any:
    """Return the sum of a head's branches, as MMPretrain's Conformer predicts. Other outputs are returned unchanged."""
    return sum(output) if isinstance(output, (tuple, list)) else output


def check_predictions(head: nn.Module, features: Any, logits: Any, key: str) -> None:
    """Check that one of MMPretrain's heads predicts the softmax of its logits.

    Args:
        head (nn.Module): The head. One that cannot predict is not checked.
        features (Any): Input of the head.
        logits (Any): Output of the head for ``features``.
        key (str): Name of the head in the config.

    Raises:
        ValueError: If the head predicts something else.
    """
    if not hasattr(head, 'predict'):
        return
    with eval_mode(head):
        scores = [getattr(sample, 'pred_score', None) for sample in head.predict(features)]
    known = isinstance(logits, Tensor) and all(isinstance(each, Tensor) for each in scores)
    scores, wanted = (torch.stack(scores), logits.softmax(1)) if known else (None, None)
    if not (known and scores.shape == wanted.shape and torch.allclose(scores, wanted, atol=1e-5)):
        raise ValueError(
            f'{key}: {type(head).__name__} does not predict the softmax of its logits. Losses and validation expect '
            'logits of one distribution over the classes. Use a head for single-label classification, such as '
            'LinearClsHead'
        )


def is_self_supervised(model: nn.Module) -> bool:
    """Return True if a model is for MMPretrain's pre-training, which alone its head and neck serve."""
    return any(cls.__name__ == 'BaseSelfSupervisor' for cls in type(model).__mro__)


def linear_layers(model: nn.Module, within: str = '') -> list[str]:
    """Return the dotted names of a model's linear layers, except those of distillation tokens."""
    named = ((name, m) for name, m in model.named_modules() if name.startswith(within))
    return [name for name, m in named if isinstance(m, nn.Linear) and 'dist' not in name]
