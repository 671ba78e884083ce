"""PAT's loss: the student's stages, seen through attention, against those of the prompted teacher.

Source: Perspective-Aware Teaching, ICCV 2025, arXiv 2501.08885. Stage k of a CNN and of a transformer look at an image
in different ways. So the student's four stages first exchange what they have seen (region-aware attention), and the
teacher's stages are adapted to the student by prompts that know how far it was off (adaptive feedback prompts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tas_mm.models import Observation, StageView
from tas_mm.models.utils import to_float32

from .modules import RegionAwareAttention, adapter_for
from .prompted_teacher import PromptedTeacher


class PATLoss(nn.Module):
    r"""Loss between the stages of the student and those of the prompted teacher, which keeps its logits.

    With :math:`m_k` the student's stage k, drawn from all its stages by attention and brought to the teacher's shape,
    :math:`t_k` the prompted teacher's stage k, :math:`p` the teacher's probabilities and :math:`\hat p` those of the
    prompted teacher:

    .. math:: L = w_f \sum_{k=1}^4 \mathrm{HCL}(m_k, t_k) + w_p \, \mathrm{KL}(p \,\|\, \hat p)

    HCL is the mean square error of two maps and of their averages (:func:`hierarchical`).

    The teacher runs a second time, from its stage 1 on, with a prompt added to the output of stages 1 to 3. Its weights
    and its own pass stay as they are; attention and prompts belong to the loss. A prompt receives the student's gap in
    the next stage *in the step before*, on other images, as in the authors' code. In the first step, after a batch of
    another size, and when a run resumes, the gap is zero.

    Args:
        student (StageView): View of the student.
        teacher (StageView): View of the teacher.
        dim (int): Width of the attention. Defaults to 512, the authors'.
        num_queries (int): Regions of all four stages: four times a square. Defaults to 64, the authors'.
        num_heads (int): Heads of the attention. Defaults to 8, the authors'.
        feature_weight (float): The weight :math:`w_f`. Defaults to 1, the authors'.
        prompt_weight (float): The weight :math:`w_p`. Defaults to 1, the authors'.

    Raises:
        ValueError: If ``dim`` and ``num_heads``, or ``num_queries``, do not fit.
    """

    def __init__(
        self,
        student: StageView,
        teacher: StageView,
        dim: int = 512,
        num_queries: int = 64,
        num_heads: int = 8,
        feature_weight: float = 1.0,
        prompt_weight: float = 1.0,
    ) -> None:
        super().__init__()
        side = math.isqrt(max(0, num_queries) // 4)
        if side == 0 or 4 * side**2 != num_queries:
            raise ValueError(f'num_queries={num_queries}. Expected four times a square: 4, 16, 36, 64, ...')
        if dim <= 0 or dim % 2 or dim % num_heads:
            raise ValueError(f'dim={dim}. Expected an even multiple of num_heads={num_heads}')
        adapter, regions = adapter_for(teacher.family), (side, side)
        self.attention = RegionAwareAttention(student.stages, side, dim, num_heads)
        self.adapters = nn.ModuleList(adapter(dim, regions, stage.channels, stage.grid) for stage in teacher.stages)
        self.prompted_teacher = PromptedTeacher(teacher)
        self.feature_weight = feature_weight
        self.prompt_weight = prompt_weight
        self._gaps: dict[int, Tensor] = {}  # by stage, of the step before

    def forward(self, maps: Sequence[Tensor], teacher: Observation) -> Tensor:
        """Compute the loss. Its networks run under the autocast around it; maps and logits are compared in float32.

        Args:
            maps (sequence): The student's four stages as maps ``(B, C, H, W)``.
            teacher (Observation): The teacher's logits, and the native output of its stage 1.

        Returns:
            Tensor: A scalar, at least 0.
        """
        targets, prompted = self.prompted_teacher(teacher.view, teacher.stages[1], self._gaps)
        learners = [to_float32(adapter(x)) for adapter, x in zip(self.adapters, self.attention(maps))]
        # A gap that is not finite would spoil every step that follows.
        self._gaps = {k: (learners[k - 1] - targets[k - 1]).detach().nan_to_num(0.0, 0.0, 0.0) for k in (2, 3, 4)}
        with torch.autocast(prompted.device.type, enabled=False):
            features = sum(hierarchical(learner, target) for learner, target in zip(learners, targets))
            log_p, log_prompted = to_float32(teacher.logits).log_softmax(1), prompted.log_softmax(1)
            drift = F.kl_div(log_prompted, log_p, reduction='batchmean', log_target=True)
        return self.feature_weight * features + self.prompt_weight * drift


def hierarchical(learner: Tensor, target: Tensor) -> Tensor:
    """Compute the mean square error of two maps, and with halved weights those of their 4x4, 2x2 and 1x1 averages.

    Source: hierarchical context loss of ReviewKD, arXiv 2104.09044. The weights are divided by their sum; averages onto
    a grid that is not coarser than the map are left out.
    """
    sides = [side for side in (4, 2, 1) if side < min(target.shape[2:])]
    errors = [F.mse_loss(learner, target)]
    errors += [F.mse_loss(F.adaptive_avg_pool2d(learner, n), F.adaptive_avg_pool2d(target, n)) for n in sides]
    weights = [0.5**i for i in range(len(errors))]
    return sum(weight * error for weight, error in zip(weights, errors)) / sum(weights)
