"""Losses between maps, position by position: mean squared error, and KL between self-similarities.

Both are lightly-train's losses for dense features: of its second method, and the local loss of its third.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tas_mm.registry import MODELS

from .projected import ProjectedLoss, resize
from .queue_kl import softened_kl


@MODELS.register_module()
class DenseMSELoss(ProjectedLoss):
    """Mean squared error between maps. The student's map is projected and resized to the target's grid.

    Nothing is normalized. Pooled features work too.

    Args:
        learner_dim (int, optional): Width of ``feat_S``, inferred by the distiller. Defaults to None.
        target_dim (int, optional): Width of ``feat_T``, inferred by the distiller. Defaults to None: without the two
            widths there is no projection.
        hidden_ratio (float, optional): Width of the projection's hidden layer divided by ``learner_dim``. Defaults to
            None: one linear layer.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        detach_target (bool): Whether to detach ``feat_T``. Defaults to True.
        reduction (str): ``'mean'`` over the batch, or ``'none'`` for one value per image. Defaults to ``'mean'``.

    Examples:
        >>> import torch
        >>> from tas_mm.models import DenseMSELoss
        >>> DenseMSELoss(8, 12)(torch.randn(4, 8, 7, 7), torch.randn(4, 12, 14, 14)).shape
        torch.Size([])
    """

    reads = 'stage4'

    def __init__(
        self,
        learner_dim: int | None = None,
        target_dim: int | None = None,
        hidden_ratio: float | None = None,
        loss_weight: float = 1.0,
        detach_target: bool = True,
        reduction: str = 'mean',
    ) -> None:
        super().__init__(learner_dim, target_dim, hidden_ratio, loss_weight, detach_target, reduction)

    def compare(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each image, ``(B, )``."""
        if target.dim() == 4:
            student = resize(student, target.shape[-2:])
        return F.mse_loss(student, target, reduction='none').flatten(1).mean(dim=1)


@MODELS.register_module()
class SelfSimilarityLoss(ProjectedLoss):
    r"""KL divergence between the similarities of an image's positions in the teacher and in the student.

    The student's map goes through a linear layer and is resized to the target's grid. :math:`t_i` and :math:`s_i` are
    the :math:`N` positions of an image, L2-normalized:

    .. math:: L = \frac{1}{N} \sum_i \mathrm{KL}\big(\mathrm{softmax}_j(t_i \cdot t_j / \tau) \,\|\,
        \mathrm{softmax}_j(s_i \cdot s_j / \tau)\big)

    Args:
        learner_dim (int, optional): Width of ``feat_S``, inferred by the distiller. Defaults to None.
        target_dim (int, optional): Width of ``feat_T``, inferred by the distiller. Defaults to None: without the two
            widths there is no projection.
        temperature (float): The temperature :math:`\tau`. Defaults to 0.07.
        hidden_ratio (float, optional): Width of the projection's hidden layer divided by ``learner_dim``. Defaults to
            None: one linear layer.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        detach_target (bool): Whether to detach ``feat_T``. Defaults to True.
        reduction (str): ``'mean'`` over the batch, or ``'none'`` for one value per image. Defaults to ``'mean'``.

    Raises:
        ValueError: If ``temperature`` is not positive, or as for :class:`ProjectedLoss`.

    Examples:
        >>> import torch
        >>> from tas_mm.models import SelfSimilarityLoss
        >>> SelfSimilarityLoss(8, 12, reduction='none')(torch.randn(4, 8, 7, 7), torch.randn(4, 12, 14, 14)).shape
        torch.Size([4])
    """

    reads = 'stage4'

    def __init__(
        self,
        learner_dim: int | None = None,
        target_dim: int | None = None,
        temperature: float = 0.07,
        hidden_ratio: float | None = None,
        loss_weight: float = 1.0,
        detach_target: bool = True,
        reduction: str = 'mean',
    ) -> None:
        super().__init__(learner_dim, target_dim, hidden_ratio, loss_weight, detach_target, reduction)
        if not temperature > 0:
            raise ValueError(f'SelfSimilarityLoss: temperature={temperature}. Expected a positive number')
        self.temperature = temperature

    def compare(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each image, ``(B, )``."""
        if target.dim() != 4:
            raise ValueError(
                f'SelfSimilarityLoss: features of shape {tuple(target.shape)}. Expected maps (B, C, H, W): read one of '
                'stage1 to stage4, in a term. The paths of TASDistiller compare pooled features'
            )
        student = resize(student, target.shape[-2:])
        student, target = (F.normalize(x, dim=1).flatten(2) for x in (student, target))  # BxCxN
        ours, theirs = (x.transpose(1, 2) @ x for x in (student, target))  # BxNxN
        return softened_kl(ours, theirs, self.temperature).mean(dim=1)
