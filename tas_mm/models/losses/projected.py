"""Base of losses with a projection of the student's side: projection, precision, and one value per image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..stages import StageView
from ..utils import REDUCTIONS, Grid
from .final_norm import FinalNorm


class ProjectedLoss(nn.Module):
    """Base of losses that project the learner to the target's width, channel by channel of vectors or maps.

    A subclass defines :meth:`compare`. Everything runs in float32, whatever the autocast. If the loss is bound to a
    teacher with a final norm, a map of the target goes through that norm first, as in the teacher itself.

    Args:
        learner_dim (int, optional): Width of ``feat_S``, inferred by the distiller. Defaults to None.
        target_dim (int, optional): Width of ``feat_T``, inferred by the distiller. Defaults to None: without the two
            widths there is no projection.
        hidden_ratio (float, optional): Width of the hidden layer of a GELU MLP, divided by ``learner_dim``. Defaults to
            None: one linear layer.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        detach_target (bool): Whether to detach ``feat_T``. Defaults to True.
        reduction (str): ``'mean'`` over the batch, or ``'none'`` for one value per image. Defaults to ``'mean'``.

    Raises:
        ValueError: If only one of the two widths is given, if ``hidden_ratio`` is not positive, or if ``reduction`` is
            unknown.
    """

    def __init__(
        self,
        learner_dim: int | None = None,
        target_dim: int | None = None,
        hidden_ratio: float | None = None,
        loss_weight: float = 1.0,
        detach_target: bool = True,
        reduction: str = 'mean',
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if (learner_dim is None) != (target_dim is None):
            raise ValueError(f'{name}: {learner_dim=}, {target_dim=}. Expected both widths or neither')
        if reduction not in REDUCTIONS:
            raise ValueError(f'{name}: reduction={reduction!r}. Expected one of {", ".join(REDUCTIONS)}')
        if hidden_ratio is not None and not hidden_ratio > 0:
            raise ValueError(f'{name}: hidden_ratio={hidden_ratio}. Expected a positive number')
        self.target_norm: FinalNorm | None = None
        self.projection = None if learner_dim is None else projection(learner_dim, target_dim, hidden_ratio)
        self.loss_weight = loss_weight
        self.detach_target = detach_target
        self.reduction = reduction

    def bind(self, student: StageView, teacher: StageView) -> None:
        """Bind the loss to two networks. It uses the teacher's final norm."""
        self.target_norm = FinalNorm(teacher)

    def forward(self, feat_S: Tensor, feat_T: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            feat_S (Tensor): Features of the learner, ``(B, C_S)`` or, for a loss between maps, ``(B, C_S, H, W)``.
            feat_T (Tensor): Features of the target, ``(B, C_T)`` or ``(B, C_T, H', W')``.

        Returns:
            Tensor: A scalar, at least 0, or ``(B, )`` with ``reduction='none'``.

        Raises:
            ValueError: If the widths differ and there is no projection, or if the loss cannot compare such features.
        """
        if self.detach_target:
            feat_T = feat_T.detach()
        with torch.autocast(feat_S.device.type, enabled=False):
            student = feat_S if self.projection is None else over_channels(self.projection, feat_S)
            exact = torch.promote_types(student.dtype, torch.float32)  # float64 stays
            student, target = student.to(exact), feat_T.to(exact)
            if student.dim() != target.dim() or student.shape[:2] != target.shape[:2]:
                raise ValueError(
                    f'{type(self).__name__}: features of shape {tuple(feat_S.shape)} and {tuple(feat_T.shape)} cannot '
                    f'be compared. Set learner_dim={feat_S.size(1)}, target_dim={feat_T.size(1)}, and let both sides '
                    'read a feature, or both a stage'
                )
            if target.dim() == 4 and self.target_norm is not None:
                target = self.target_norm(target)
            loss = self.compare(student, target)  # B
        return self.loss_weight * (loss.mean() if self.reduction == 'mean' else loss)

    def compare(self, student: Tensor, target: Tensor) -> Tensor:
        """Compare the two sides, of equal width and in float32, and return a value per image ``(B, )``."""
        raise NotImplementedError


def projection(learner_dim: int, target_dim: int, hidden_ratio: float | None) -> nn.Module:
    """Build a linear layer or a two-layer GELU MLP, with truncated normal weights of standard deviation 0.02."""
    if hidden_ratio is None:
        layers = nn.Linear(learner_dim, target_dim)
    else:
        hidden = max(1, round(hidden_ratio * learner_dim))
        layers = nn.Sequential(nn.Linear(learner_dim, hidden), nn.GELU(), nn.Linear(hidden, target_dim))
    for layer in layers.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return layers


def over_channels(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer to the channels of vectors ``(B, C)``, or of every position of maps ``(B, C, H, W)``."""
    return layer(x.to(next(layer.parameters())).movedim(1, -1)).movedim(-1, 1)


def resize(x: Tensor, grid: Grid) -> Tensor:
    """Resize a map to a grid, bilinearly, if it has another one."""
    return x if tuple(x.shape[-2:]) == tuple(grid) else F.interpolate(x, grid, mode='bilinear', align_corners=False)
