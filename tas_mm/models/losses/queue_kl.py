"""KL divergence between softened similarities to a queue of the teacher's features (lightly-train's global loss)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tas_mm.registry import MODELS

from .projected import ProjectedLoss


@MODELS.register_module()
class QueueKLLoss(ProjectedLoss):
    r"""KL divergence between the similarities of teacher and student to a queue of the teacher's features.

    :math:`t` and :math:`h(s)` are L2-normalized. :math:`Q` holds the teacher's last features, L2-normalized, starting
    with the current batch:

    .. math:: L = \frac{1}{B} \sum_i \mathrm{KL}\big(\mathrm{softmax}(t_i Q^\top / \tau) \,\|\,
        \mathrm{softmax}(h(s_i) Q^\top / \tau)\big)

    The queue starts with zeros. It is a buffer: checkpoints include it, and it is updated in training mode only. In
    distributed training each process has its own queue. A resumed run gives all of them the queue of the first process.

    Args:
        learner_dim (int, optional): Width of ``feat_S``, inferred by the distiller. Defaults to None.
        target_dim (int): Width of ``feat_T``, inferred by the distiller.
        queue_size (int): Number of rows of the queue. lightly-train uses a quarter to a half of the data set, and at
            most 8192. Defaults to 8192.
        temperature (float): The temperature :math:`\tau`. Defaults to 0.07.
        hidden_ratio (float, optional): Width of the projection's hidden layer divided by ``learner_dim``. Defaults to
            None: one linear layer.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        detach_target (bool): Whether to detach ``feat_T``. The queue never has a gradient. Defaults to True.
        reduction (str): ``'mean'`` over the batch, or ``'none'`` for one value per image. Defaults to ``'mean'``.

    Raises:
        ValueError: If ``queue_size`` is below 1, if ``temperature`` is not positive, or as for :class:`ProjectedLoss`.

    Examples:
        >>> import torch
        >>> from tas_mm.models import QueueKLLoss
        >>> loss = QueueKLLoss(learner_dim=8, target_dim=12, queue_size=16)
        >>> loss(torch.randn(4, 8), torch.randn(4, 12)).shape
        torch.Size([])
        >>> int(loss.queue.any(dim=1).sum())
        4
    """

    reads = 'feature'

    def __init__(
        self,
        learner_dim: int | None,
        target_dim: int,
        queue_size: int = 8192,
        temperature: float = 0.07,
        hidden_ratio: float | None = None,
        loss_weight: float = 1.0,
        detach_target: bool = True,
        reduction: str = 'mean',
    ) -> None:
        super().__init__(learner_dim, target_dim, hidden_ratio, loss_weight, detach_target, reduction)
        if not queue_size >= 1:
            raise ValueError(f'QueueKLLoss: queue_size={queue_size}. Expected at least 1')
        if not temperature > 0:
            raise ValueError(f'QueueKLLoss: temperature={temperature}. Expected a positive number')
        self.temperature = temperature
        self.register_buffer('queue', torch.zeros(queue_size, target_dim))

    def compare(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each image, ``(B, )``, and update the queue."""
        if target.dim() != 2:
            raise ValueError(f'QueueKLLoss: features of shape {tuple(target.shape)}. Expected (B, C): read a feature')
        student, target = F.normalize(student, dim=1), F.normalize(target, dim=1)
        queue = torch.cat([target.detach(), self.queue.to(target)])[: len(self.queue)]
        if self.training:
            self.queue.copy_(queue)
        return softened_kl(student @ queue.T, target @ queue.T, self.temperature)


def softened_kl(student: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return the KL divergence from target to student of softmax similarities over the last dimension."""
    log_s, log_t = (F.log_softmax(x / temperature, dim=-1) for x in (student, target))
    return F.kl_div(log_s, log_t, reduction='none', log_target=True).sum(dim=-1)
