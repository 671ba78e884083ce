"""The RSD loss: correlate the components of two pooled features.

Source: Redundancy Suppression Distillation, ICCV 2025, arXiv 2507.21844. The correlation, over the batch, between the
student's and the teacher's components should be the identity: equal components agree, and different components do not
repeat each other. A small head between the two leaves the student's own feature free to differ.
"""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from tas_mm.registry import MODELS


@MODELS.register_module()
class RSDLoss(nn.Module):
    r"""Redundancy suppression between pooled features.

    :math:`h` is the head. :math:`\hat{x}` is a feature whose components have mean 0 and standard deviation 1 over the
    batch, and :math:`C = \hat{t}^\top \hat{h}(s) / B`:

    .. math:: L = \sum_i (C_{ii} - 1)^2 + \kappa \sum_{i \ne j} C_{ij}^2

    The head is a linear layer, batch norm, GELU and a linear layer, without biases. It always uses the statistics of
    the current batch and keeps none. In distributed training each process correlates its own batch, as in the authors'
    code. So tune the loss for the batch size of one process.

    Both sums grow with the width of the target, the first like C_T, the second like C_T². Even independent components
    have correlations whose squares average 1 / (B - 1), so from some width on the second sum is mostly noise: with 32
    images and 1,280 components students hardly learned, and the first step warns. ``reduction='mean'`` takes the mean
    of each sum's terms, so one weight and one kappa serve all teachers.

    Args:
        learner_dim (int): Width of ``feat_S``, inferred by the distiller.
        target_dim (int): Width of ``feat_T``, inferred by the distiller.
        kappa (float): Weight of the correlations between different components. Defaults to 0.01, as the authors' for
            the sum.
        head_ratio (float): Width of the head divided by ``learner_dim``. Defaults to 2, as the authors'.
        loss_weight (float): Factor on the loss. Defaults to 0.1, as the authors'.
        detach_target (bool): Whether to detach ``feat_T``. Defaults to True.
        reduction (str): ``'sum'`` of the terms, or ``'mean'`` of those with ``i = j`` plus ``kappa`` times the mean of
            the others. A sum with ``kappa`` is ``target_dim`` times a mean with ``(target_dim - 1) * kappa``. Defaults
            to ``'sum'``, as the authors'.

    Raises:
        ValueError: If ``kappa`` is negative, ``head_ratio`` is not positive or ``reduction`` is unknown.

    Examples:
        >>> import torch
        >>> from tas_mm.models import RSDLoss
        >>> loss = RSDLoss(learner_dim=8, target_dim=12)
        >>> loss(torch.randn(4, 8), torch.randn(4, 12)).shape
        torch.Size([])
    """

    EPS = 1e-5
    MAX_NOISE = 0.3
    """Noise in the second sum, as a part of what the first is at most, above which the first step warns."""

    def __init__(
        self,
        learner_dim: int,
        target_dim: int,
        kappa: float = 0.01,
        head_ratio: float = 2.0,
        loss_weight: float = 0.1,
        detach_target: bool = True,
        reduction: str = 'sum',
    ) -> None:
        super().__init__()
        if not kappa >= 0:
            raise ValueError(f'RSDLoss: kappa={kappa}. Expected at least 0')
        if not head_ratio > 0:
            raise ValueError(f'RSDLoss: head_ratio={head_ratio}. Expected a positive number')
        if reduction not in ('sum', 'mean'):
            raise ValueError(f"RSDLoss: reduction={reduction!r}. Expected 'sum' or 'mean'")
        hidden = max(1, round(head_ratio * learner_dim))
        self.head = nn.Sequential(
            nn.Linear(learner_dim, hidden, bias=False),
            nn.BatchNorm1d(hidden, track_running_stats=False),
            nn.GELU(),
            nn.Linear(hidden, target_dim, bias=False),
        )
        for layer in (self.head[0], self.head[-1]):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        self.kappa = kappa
        self.loss_weight = loss_weight
        self.detach_target = detach_target
        self.reduction = reduction
        self.checked = False

    def forward(self, feat_S: Tensor, feat_T: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            feat_S (Tensor): Pooled features of the learner, ``(B, C_S)``.
            feat_T (Tensor): Pooled features of the target, ``(B, C_T)``.

        Returns:
            Tensor: A scalar, at least 0.

        Raises:
            ValueError: If the batch has only one image, which has no correlations.
        """
        if len(feat_S) < 2:
            raise ValueError(
                'RSDLoss: a batch of 1 image has no correlations. Set train_dataloader.batch_size to at least 2, and '
                'train_dataloader.drop_last=True if the last batch of an epoch may have 1 image'
            )
        if not self.checked:
            self._check_noise(*feat_T.shape)
        if self.detach_target:
            feat_T = feat_T.detach()
        with torch.autocast(feat_S.device.type, enabled=False):
            s = self.head(feat_S.to(self.head[0].weight))  # BxC_T
            exact = torch.promote_types(s.dtype, torch.float32)  # float64 stays
            s, t = self._standardized(s.to(exact)), self._standardized(feat_T.to(exact))  # BxC_T, BxC_T
            correlation = t.T @ s / len(s)  # C_TxC_T
            width = len(correlation)
            identity = torch.eye(width, dtype=correlation.dtype, device=correlation.device)
            square = (correlation - identity).square()
            equal = square.diagonal().sum()
            others = square.sum() - equal
            if self.reduction == 'mean':
                equal, others = equal / width, others / max(1, width * (width - 1))
        return self.loss_weight * (equal + self.kappa * others)

    def _standardized(self, x: Tensor) -> Tensor:
        return (x - x.mean(dim=0)) / (x.std(dim=0, correction=0) + self.EPS)

    def _check_noise(self, images: int, width: int) -> None:
        """Warn if independent components alone would give the second sum a large value."""
        noise = self.kappa * (width - 1) / (images - 1)
        if self.reduction == 'sum' and noise > self.MAX_NOISE:
            print_log(
                f'RSDLoss: with a teacher of {width} components, batches of {images} images and kappa={self.kappa} the '
                f'second sum has noise of {noise:.1f} times what the first sum is at most. Students hardly learned at '
                "0.4. Set reduction='mean', kappa=0.64 and loss_weight=6.4, as tas_best.py does",
                logger='current',
                level=logging.WARNING,
            )
        self.checked = True
