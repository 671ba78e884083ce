"""Cosine distance and smooth L1 between features, with the target as it is or balanced.

Sources: UNIC (ECCV 2024, arXiv 2408.05088) for the two parts; PHI-S (arXiv 2410.01680) for the balanced target.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tas_mm.registry import MODELS

from .balance import Balance
from .projected import ProjectedLoss, resize


@MODELS.register_module()
class CosineSmoothL1Loss(ProjectedLoss):
    r"""Cosine distance and smooth L1 between pooled features or maps.

    With the student's projection :math:`h`:

    .. math:: L = w_c \, (1 - \cos(h(s), t)) + w_l \, \mathrm{smoothL1}_\beta(h(s), t)

    Smooth L1 is the mean over the channels. For maps it is also the mean over positions, and a map on the finer grid is
    first resized to the coarser one. ``balanced`` replaces ``t`` by its balanced form (:class:`Balance`), in which
    every channel has variance 1. Then a teacher's few large channels do not outweigh the others, and several teachers
    weigh the same.

    Args:
        learner_dim (int, optional): Width of ``feat_S``, inferred by the distiller. Defaults to None.
        target_dim (int, optional): Width of ``feat_T``, inferred by the distiller. Defaults to None: without the two
            widths there is no projection.
        hidden_ratio (float, optional): Width of the projection's hidden layer divided by ``learner_dim``. None means
            one linear layer. Defaults to 4, UNIC's.
        cosine_weight (float): The weight :math:`w_c`. Defaults to 0.5, UNIC's.
        smooth_l1_weight (float): The weight :math:`w_l`. Defaults to 0.5, UNIC's.
        beta (float): Where smooth L1 changes from quadratic to linear. Defaults to 1.0, UNIC's. PHI-S uses 2.0.
        balanced (bool): Whether to balance the target. Defaults to False.
        refresh (int): Number of batches between two updates of the balance. Defaults to 100.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        detach_target (bool): Whether to detach ``feat_T``. Defaults to True.
        reduction (str): ``'mean'`` over the batch, or ``'none'`` for one value per image. Defaults to ``'mean'``.

    Raises:
        ValueError: If ``beta`` is not positive, if a weight is negative, if ``balanced`` lacks ``target_dim``, or as
            for :class:`ProjectedLoss`.

    Examples:
        >>> import torch
        >>> from tas_mm.models import CosineSmoothL1Loss
        >>> loss = CosineSmoothL1Loss(learner_dim=8, target_dim=12, reduction='none')
        >>> loss(torch.randn(4, 8), torch.randn(4, 12)).shape
        torch.Size([4])
        >>> loss(torch.randn(4, 8, 7, 7), torch.randn(4, 12, 14, 14)).shape
        torch.Size([4])
    """

    reads = 'feature'

    def __init__(
        self,
        learner_dim: int | None = None,
        target_dim: int | None = None,
        hidden_ratio: float | None = 4.0,
        cosine_weight: float = 0.5,
        smooth_l1_weight: float = 0.5,
        beta: float = 1.0,
        balanced: bool = False,
        refresh: int = 100,
        loss_weight: float = 1.0,
        detach_target: bool = True,
        reduction: str = 'mean',
    ) -> None:
        super().__init__(learner_dim, target_dim, hidden_ratio, loss_weight, detach_target, reduction)
        if not beta > 0:
            raise ValueError(f'CosineSmoothL1Loss: beta={beta}. Expected a positive number')
        if not min(cosine_weight, smooth_l1_weight) >= 0:
            raise ValueError(
                f'CosineSmoothL1Loss: {cosine_weight=}, {smooth_l1_weight=}. Expected numbers of at least 0'
            )
        if balanced and target_dim is None:
            raise ValueError('CosineSmoothL1Loss: balanced=True needs learner_dim and target_dim')
        self.cosine_weight = cosine_weight
        self.smooth_l1_weight = smooth_l1_weight
        self.beta = beta
        self.balance = Balance(target_dim, refresh) if balanced else None

    def compare(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each image, ``(B, )``."""
        if target.dim() == 4:
            grid = tuple(map(min, student.shape[-2:], target.shape[-2:]))
            student, target = resize(student, grid), resize(target, grid)
        if self.balance is not None:
            target = self.balance(target)
        cosine = 1 - F.cosine_similarity(student, target, dim=1)  # B, or BxHxW
        smooth = F.smooth_l1_loss(student, target, reduction='none', beta=self.beta).mean(dim=1)
        loss = self.cosine_weight * cosine + self.smooth_l1_weight * smooth
        return loss.reshape(len(loss), -1).mean(dim=1)
