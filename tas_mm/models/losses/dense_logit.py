"""Quality focal loss between the class scores of two one-stage detectors, location by location.

Source: Generalized Focal Loss, arXiv 2006.04388, whose soft target is here the teacher's score.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tas_mm.registry import MODELS


@MODELS.register_module()
class DenseLogitLoss(nn.Module):
    r"""Quality focal loss of a detector's class scores, with the teacher's scores as soft targets.

    With :math:`t` and :math:`s` the scores of teacher and student after the sigmoid, at location and prior :math:`i`
    for class :math:`k`:

    .. math:: L = \frac{\sum_{i,k} |t_{ik} - s_{ik}|^\beta \, \mathrm{BCE}(s_{ik}, t_{ik})}{\max(1, \sum_i \max_k
        t_{ik})}

    Locations where both agree, as on most of the background, count next to nothing.

    Args:
        beta (float): The exponent :math:`\beta`. Defaults to 2.0, the paper's.
        loss_weight (float): Factor on the result. Defaults to 1.0.

    Raises:
        ValueError: If ``beta`` is negative.

    Examples:
        >>> import torch
        >>> from tas_mm.models import DenseLogitLoss
        >>> scores = torch.randn(6, 3)
        >>> float(DenseLogitLoss()(scores, scores))
        0.0
    """

    reads = 'dense_logits'
    detach_target = True

    def __init__(self, beta: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not beta >= 0:
            raise ValueError(f'DenseLogitLoss: beta={beta}. Expected a number of at least 0')
        self.beta = beta
        self.loss_weight = loss_weight

    def forward(self, logits_S: Tensor, logits_T: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits_S (Tensor): Of the student, ``(N, K)``.
            logits_T (Tensor): Of the teacher, ``(N, K)``.

        Raises:
            ValueError: If the maps of the two networks have other grids.
        """
        if logits_S.shape != logits_T.shape:
            raise ValueError(
                f'DenseLogitLoss: the student scores {len(logits_S)} locations of a batch and the teacher '
                f'{len(logits_T)}. Set pad_size_divisor=32 in the data_preprocessor of model.architecture'
            )
        target = logits_T.detach().sigmoid()
        weight = (target - logits_S.detach().sigmoid()).abs() ** self.beta
        total = (weight * F.binary_cross_entropy_with_logits(logits_S, target, reduction='none')).sum()
        return self.loss_weight * total / target.amax(dim=1).sum().clamp_min(1.0)
