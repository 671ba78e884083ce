"""The OFA loss: cross-entropy with the teacher's distribution, whose target class is strengthened.

Source: One-for-All, NeurIPS 2023, arXiv 2310.19444, Eq. 3. TAS (arXiv 2410.12342) uses it on all three paths. It is
computed with log-softmax in float32, because log(softmax(.)) overflows to NaN under mixed precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..utils import REDUCTIONS


@MODELS.register_module()
class OFALoss(nn.Module):
    r"""Cross-entropy with adaptive target enhancement.

    With :math:`p = \mathrm{softmax}(z / \tau)` and one-hot labels :math:`y`:

    .. math:: L = \frac{1}{B} \sum_b \sum_c -[(p_T + y)^\gamma - y]_c \log p_{S,c}

    ``gamma=1`` is soft cross-entropy. The paper uses 1.0 on CIFAR-100 and about 1.1 to 1.5 on ImageNet, and larger
    values for weaker teachers.

    Args:
        gamma (float): Exponent of the enhanced target, at least 1. Defaults to 1.0.
        tau (float): Temperature of both softmaxes, a positive number. Defaults to 1.0.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        detach_target (bool): Whether to detach ``preds_T``. Defaults to True.
        reduction (str): ``'mean'`` over the batch, or ``'none'`` for one value per image. Defaults to ``'mean'``.

    Raises:
        ValueError: If ``gamma`` is below 1, if ``tau`` is not positive, or if ``reduction`` is unknown.

    Examples:
        >>> import torch
        >>> from tas_mm.models import OFALoss
        >>> loss = OFALoss(gamma=1.2)
        >>> loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 1])).shape
        torch.Size([])
    """

    def __init__(
        self,
        gamma: float = 1.0,
        tau: float = 1.0,
        loss_weight: float = 1.0,
        detach_target: bool = True,
        reduction: str = 'mean',
    ) -> None:
        super().__init__()
        if not gamma >= 1:
            raise ValueError(f'OFALoss: gamma={gamma}. Expected at least 1 (1 is soft cross-entropy)')
        if not tau > 0:
            raise ValueError(f'OFALoss: tau={tau}. Expected a positive number')
        if reduction not in REDUCTIONS:
            raise ValueError(f'OFALoss: reduction={reduction!r}. Expected one of {", ".join(REDUCTIONS)}')
        self.gamma = gamma
        self.tau = tau
        self.loss_weight = loss_weight
        self.detach_target = detach_target
        self.reduction = reduction

    def forward(self, preds_S: Tensor, preds_T: Tensor, gt_labels: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            preds_S (Tensor): Logits of the learner, ``(B, C)``.
            preds_T (Tensor): Logits of the target, ``(B, C)``.
            gt_labels (Tensor, optional): Class indices ``(B, )``, with -1 for an unlabeled image, whose target is not
                enhanced. Or class scores ``(B, C)`` from mixup, of which the largest counts. Defaults to None, for
                unlabeled images, which needs ``gamma=1``: then the labels cancel out.

        Returns:
            Tensor: A scalar, at least 0, or ``(B, )`` with ``reduction='none'``.

        Raises:
            ValueError: If the numbers of classes differ, or if labels are missing and ``gamma`` is above 1.
        """
        if preds_S.shape != preds_T.shape:
            raise ValueError(
                f'OFALoss: preds_S has shape {tuple(preds_S.shape)} and preds_T {tuple(preds_T.shape)}. Expected the '
                'same num_classes'
            )
        if self.detach_target:
            preds_T = preds_T.detach()
        if gt_labels is None and self.gamma != 1:
            raise ValueError(f'OFALoss: gamma={self.gamma} needs labels. Set gamma=1 for images without labels')
        if gt_labels is not None and gt_labels.ndim == 2:
            gt_labels = gt_labels.argmax(dim=1)
        exact = torch.promote_types(preds_S.dtype, torch.float32)  # float64 stays
        with torch.autocast(preds_S.device.type, enabled=False):
            log_p_S = F.log_softmax(preds_S.to(exact) / self.tau, dim=1)  # BxC
            p_T = F.softmax(preds_T.to(exact) / self.tau, dim=1)  # BxC
            target = p_T
            if gt_labels is not None:
                labeled = gt_labels >= 0  # B
                y = F.one_hot(gt_labels.clamp_min(0), p_T.size(1)).to(p_T)  # BxC
                target = torch.where(labeled[:, None], (p_T + y).pow(self.gamma) - y, p_T)
            loss = -(target * log_p_S).sum(dim=1)  # B
        return self.loss_weight * (loss.mean() if self.reduction == 'mean' else loss)
