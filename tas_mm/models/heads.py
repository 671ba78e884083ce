"""What a classifier predicts, and the logits from which it does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .utils import eval_mode


def logits_of(output: Any) -> Tensor:
    """Return the logits ``(B, K)`` in what a network returns: a tensor, a tuple, or an output of transformers."""
    output = getattr(output, 'logits', output)
    return output[0] if isinstance(output, (tuple, list)) else output


def sum_of_branches(output: Any) -> Any:
    """Return the sum of what the branches of a head give, as MMPretrain's Conformer predicts; else the output."""
    return sum(output) if isinstance(output, (tuple, list)) else output


def check_predictions(head: nn.Module, features: Any, logits: Any, key: str) -> None:
    """Check that a head of MMPretrain's predicts the softmax of its logits.

    Args:
        head (nn.Module): The head; one that cannot predict is not checked.
        features (Any): Its input.
        logits (Any): What it gives for them.
        key (str): Name of the head in the config.

    Raises:
        ValueError: If it predicts something else.
    """
    if not hasattr(head, 'predict'):
        return
    with eval_mode(head):
        scores = [getattr(sample, 'pred_score', None) for sample in head.predict(features)]
    known = isinstance(logits, Tensor) and all(isinstance(each, Tensor) for each in scores)
    scores, wanted = (torch.stack(scores), logits.softmax(1)) if known else (None, None)
    if not (known and scores.shape == wanted.shape and torch.allclose(scores, wanted, atol=1e-5)):
        raise ValueError(
            f'{key}: {type(head).__name__} does not predict the softmax of its logits, but losses and validation here '
            'take logits for those of one distribution over the classes. Use a head for one label, such as '
            'LinearClsHead'
        )


def is_self_supervised(model: nn.Module) -> bool:
    """Tell whether a model is one of MMPretrain's for pre-training, whose head and neck serve that alone."""
    return any(cls.__name__ == 'BaseSelfSupervisor' for cls in type(model).__mro__)


def linear_layers(model: nn.Module, within: str = '') -> list[str]:
    """Return the dotted names of a model's linear layers, without those of distillation tokens."""
    named = ((name, m) for name, m in model.named_modules() if name.startswith(within))
    return [name for name, m in named if isinstance(m, nn.Linear) and 'dist' not in name]
