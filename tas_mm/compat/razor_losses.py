"""Two of MMRazor's losses on current torch with MMPretrain.

``DKDLoss`` also passes torch's deprecated ``size_average``, which overrides its option ``reduction``: 'mean' and 'none'
silently become 'sum'. ``KDSoftCELoss`` imports its formula from MMClassification, MMPretrain's former name, and fails
without it.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def adapt(adapted: dict[str, str]) -> None:
    """Make both losses follow their options, if they do not."""
    from mmpretrain.models.losses.cross_entropy_loss import soft_cross_entropy
    from mmrazor.models.losses import DKDLoss, kd_soft_ce_loss

    if not inspect.isfunction(kd_soft_ce_loss.soft_cross_entropy):
        kd_soft_ce_loss.soft_cross_entropy = soft_cross_entropy
        adapted['mmrazor (KDSoftCELoss)'] = 'needs mmcls, the former name of MMPretrain; takes its formula from there'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        parts = torch.ones(2, 3), torch.ones(2, 3)
        if DKDLoss(reduction='mean')._kl_loss(*parts) != DKDLoss(reduction='sum')._kl_loss(*parts):
            return
    DKDLoss._kl_loss = _kl_loss
    adapted['mmrazor (DKDLoss)'] = "torch overrides its option 'reduction' by a deprecated argument; now followed"


def _kl_loss(self: Any, preds_S: Tensor, preds_T: Tensor) -> Tensor:
    loss = F.kl_div(preds_S, preds_T, reduction=self.reduction) * self.tau**2
    return loss.sum(dim=1) if self.reduction == 'none' else loss  # the loss's two parts differ in width and are added
