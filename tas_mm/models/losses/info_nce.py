"""The spatial-agnostic InfoNCE loss between pooled features.

Source: TAS, arXiv 2410.12342. Each image's feature in the learner must match the feature of the same image in the
target, among those of the whole batch. Features are pooled, since pixels of a CNN and tokens of a transformer do not
correspond. The temperature is learned, as in CLIP. The linear layer between different widths is our choice.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..utils import REDUCTIONS


@MODELS.register_module()
class InfoNCELoss(nn.Module):
    r"""InfoNCE between pooled features, with in-batch negatives and a learned temperature.

    :math:`a` are the learner's features (after the linear layer, if any), :math:`b` the target's, both L2-normalized:

    .. math:: L = -\frac{1}{B} \sum_i \log \frac{\exp(s\, a_i \cdot b_i)}{\sum_j \exp(s\, a_i \cdot b_j)},
        \quad s = \exp(\mathtt{log\_scale}) \le \mathtt{max\_scale}

    In distributed training the negatives come from all processes. The target has no gradient, so each process needs
    only its own rows. DDP averages loss and gradients over the processes, which gives the values of one process with
    the whole batch. Batches may differ in size: each process is weighted by its share of the samples.

    ``log_scale`` must have no weight decay: ``paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0)))``. All
    shipped schedules set that.

    Args:
        learner_dim (int, optional): Width of ``feat_S``, inferred by ``TASDistiller``. Defaults to None.
        target_dim (int, optional): Width of ``feat_T``, inferred by ``TASDistiller``. If it differs from
            ``learner_dim``, a linear layer maps the learner to it. Defaults to None.
        temperature (float): Initial temperature, ``1 / s``. Defaults to 0.07.
        learnable (bool): Whether the temperature is learned. Defaults to True.
        max_scale (float): Upper limit of ``s``. Defaults to 100.
        gather (bool): Whether negatives come from all processes. Defaults to True.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        detach_target (bool): Whether to detach ``feat_T``. If False, the gradient comes from this process's loss only.
            Defaults to True.
        reduction (str): ``'mean'`` over the batch, or ``'none'`` for one value per image. Defaults to ``'mean'``.

    Raises:
        ValueError: If the temperature is below ``1 / max_scale``, if only one of the two widths is given, or if
            ``reduction`` is unknown.

    Examples:
        >>> import torch
        >>> from tas_mm.models import InfoNCELoss
        >>> loss = InfoNCELoss(learner_dim=8, target_dim=16)
        >>> loss(torch.randn(4, 8), torch.randn(4, 16)).shape
        torch.Size([])
    """

    def __init__(
        self,
        learner_dim: int | None = None,
        target_dim: int | None = None,
        temperature: float = 0.07,
        learnable: bool = True,
        max_scale: float = 100.0,
        gather: bool = True,
        loss_weight: float = 1.0,
        detach_target: bool = True,
        reduction: str = 'mean',
    ) -> None:
        super().__init__()
        if not temperature >= 1 / max_scale:
            raise ValueError(f'InfoNCELoss: temperature={temperature}. Expected at least {1 / max_scale:g}')
        if (learner_dim is None) != (target_dim is None):
            raise ValueError(f'InfoNCELoss: {learner_dim=}, {target_dim=}. Expected both widths or neither')
        if reduction not in REDUCTIONS:
            raise ValueError(f'InfoNCELoss: reduction={reduction!r}. Expected one of {", ".join(REDUCTIONS)}')
        self.projection = None if learner_dim == target_dim else nn.Linear(learner_dim, target_dim)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable)
        self.max_log_scale = math.log(max_scale)
        self.gather = gather
        self.loss_weight = loss_weight
        self.detach_target = detach_target
        self.reduction = reduction

    def forward(self, feat_S: Tensor, feat_T: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            feat_S (Tensor): Pooled features of the learner, ``(B, C_S)``.
            feat_T (Tensor): Pooled features of the target, ``(B, C_T)``.

        Returns:
            Tensor: A scalar in ``[0, log(number of samples) + 2 s]``, or ``(B, )`` with ``reduction='none'``.

        Raises:
            ValueError: If the widths differ and there is no linear layer, or if the batch has only one image, so that
                there are no negatives.
        """
        if self.detach_target:
            feat_T = feat_T.detach()
        # Clamped in place: a clamp inside the graph would keep the parameter beyond the limit forever.
        with torch.no_grad():
            self.log_scale.clamp_(max=self.max_log_scale)
        with torch.autocast(feat_S.device.type, enabled=False):
            a = feat_S if self.projection is None else self.projection(feat_S.to(self.projection.weight))
            exact = torch.promote_types(a.dtype, torch.float32)  # float64 stays
            a, b = a.to(exact), feat_T.to(exact)  # BxC_T, BxC_T
            if a.shape != b.shape:
                raise ValueError(
                    f'InfoNCELoss: features of shape {tuple(feat_S.shape)} and {tuple(feat_T.shape)} cannot be '
                    f'compared. Set learner_dim={feat_S.size(-1)}, target_dim={feat_T.size(-1)}'
                )
            a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
            first, share = 0, 1.0  # index of this process's first sample among all, and its weight in the mean
            if self.gather and dist.is_distributed():
                batches = gather_batches(b)
                rank = dist.get_rank()
                batches[rank] = b  # gathered tensors have no graph, which a target with a gradient needs
                first = sum(map(len, batches[:rank]))
                b = torch.cat(batches)
                share = len(a) * len(batches) / len(b)
            if len(b) < 2:
                raise ValueError(
                    'InfoNCELoss: a batch of 1 image has no negatives. Set train_dataloader.batch_size to at least 2, '
                    'and train_dataloader.drop_last=True if the last batch of an epoch may have 1 image'
                )
            similarity = self.log_scale.exp() * a @ b.T  # BxB, or Bx(samples of all processes)
            positives = torch.arange(len(a), device=a.device) + first
            loss = F.cross_entropy(similarity, positives, reduction=self.reduction)
        return self.loss_weight * share * loss


def gather_batches(x: Tensor) -> list[Tensor]:
    """Return the batches of all processes, without gradient. They may differ in size.

    Args:
        x (Tensor): Batch ``(B, C)`` of this process. C is the same in all processes.

    Returns:
        list: A tensor ``(B_r, C)`` for each process, ordered by rank.
    """
    sizes = [int(size) for size in dist.all_gather(torch.tensor([len(x)], device=x.device))]
    padded = F.pad(x.detach(), (0, 0, 0, max(sizes) - len(x)))  # all_gather needs equal shapes
    return [batch[:size] for batch, size in zip(dist.all_gather(padded), sizes)]
