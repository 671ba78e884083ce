"""ScaleKD's loss: the student's last two stages against the teacher's last stage.

Source: ScaleKD, NeurIPS 2024, arXiv 2411.06786.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import ModuleDict
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..assistant.cross_attention import CrossAttentionProjector
from ..observer import Observer
from ..stages import StageView
from ..utils import REDUCTIONS, checkpointing_off, teacher_autocast
from .final_norm import FinalNorm

VIEWS = ('direct', 'alternative')
REFERENCE = 7 * 7  # positions of the authors' maps, over which they sum


@MODELS.register_module()
class ScaleKDLoss(nn.Module):
    r"""Losses between the student's stages 3 and 4, projected by cross-attention, and the teacher's stage 4.

    :math:`\varphi` is the frozen teacher's stage 4 and final norm, and :math:`t` is its output in the teacher's own
    pass. Each view :math:`k` has its own projectors :math:`A_k` and :math:`B_k`:

    .. math:: q_k = \varphi(A_k(s_3)), \quad z_k = B_k(s_4; q_k), \quad L = \sum_k w_k (D_k(q_k, t) + D_k(z_k, t))

    The queries of the second projector are made from :math:`q_k`, with its gradient. :math:`D_1` is the squared
    distance between the L2-normalized vectors of each position, summed over positions. :math:`D_2` is the same after
    subtracting each channel's mean over the positions. Sums are scaled to the authors' 7x7 positions.

    Use it as a term. It reads the student's ``stage3`` and ``stage4`` and the teacher's ``stage4``. The teacher's stage
    4 runs once more for each view, with a gradient to the student and none to the teacher. The authors combine it with
    plain distillation and the student's own loss, each with weight 0.5.

    Args:
        weights (tuple): The weights :math:`w_k` of the direct and the alternative view. 0 removes a view. Defaults to
            (0.08, 0.06), as the authors'.
        proxy (bool): Whether the student's stage 3 goes through the teacher's stage 4. If False, the second projectors
            have learned queries and the student's stage 3 is not used. Defaults to True.
        num_heads (int, optional): As in :class:`CrossAttentionProjector`. Defaults to None.
        softmax_scale (float): As in :class:`CrossAttentionProjector`. Defaults to 5.0, as the authors'.
        ffn_ratio (float): As in :class:`CrossAttentionProjector`. Defaults to 4.
        width_ratio (float): As in :class:`CrossAttentionProjector`. Defaults to 1, as the authors'.
        norm (str): As in :class:`CrossAttentionProjector`. Defaults to ``'BN'``.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        detach_target (bool): Whether to detach the target. Defaults to True.
        reduction (str): ``'mean'`` over the batch, or ``'none'`` for one value per image. Defaults to ``'mean'``.

    Raises:
        ValueError: If a weight is negative, if both are 0, or if ``reduction`` is unknown. At binding, if images have
            many sizes, or if the teacher's stage 4 does not run alone.

    Examples:
        >>> import torch
        >>> from tas_mm.models import PairDistiller
        >>> from tas_mm.recipes.sources import build_classifier
        >>> student, teacher = build_classifier('timm:resnet18'), build_classifier('timm:vit_tiny_patch16_224')
        >>> distiller = PairDistiller(terms=dict(scalekd=dict(type='tas_mm.ScaleKDLoss', width_ratio=0.5)))
        >>> distiller.prepare(student, teacher.eval())
        >>> images = torch.zeros(2, 3, 224, 224)
        >>> taught, _ = distiller.teacher_observer(teacher, images, mode='tensor')
        >>> learned, _ = distiller.student_observer(student, images, mode='tensor')
        >>> list(distiller(learned, taught, None))
        ['loss_scalekd']
    """

    reads = dict(student=('stage3', 'stage4'), teacher='stage4')
    keeps_autocast = True

    def __init__(
        self,
        weights: tuple[float, float] = (0.08, 0.06),
        proxy: bool = True,
        num_heads: int | None = None,
        softmax_scale: float = 5.0,
        ffn_ratio: float = 4.0,
        width_ratio: float = 1.0,
        norm: str = 'BN',
        loss_weight: float = 1.0,
        detach_target: bool = True,
        reduction: str = 'mean',
    ) -> None:
        super().__init__()
        if len(weights) != 2 or not min(weights) >= 0 or not max(weights) > 0:
            raise ValueError(f'ScaleKDLoss: weights={weights!r}. Expected two numbers of at least 0, not both 0')
        if reduction not in REDUCTIONS:
            raise ValueError(f'ScaleKDLoss: reduction={reduction!r}. Expected one of {", ".join(REDUCTIONS)}')
        self.weights = {view: weight for view, weight in zip(VIEWS, weights) if weight}
        self.proxy = proxy
        self.projector_options: dict[str, Any] = dict(
            num_heads=num_heads, softmax_scale=softmax_scale, ffn_ratio=ffn_ratio, width_ratio=width_ratio, norm=norm
        )
        self.loss_weight = loss_weight
        self.detach_target = detach_target
        self.reduction = reduction

    def bind(self, student: StageView, teacher: StageView) -> None:
        """Build the projectors for the two networks' stages, and check that the teacher's stage 4 runs alone."""
        if teacher.any_size:
            raise ValueError(f'{teacher.key}: ScaleKDLoss needs images of one size, as a classifier has')
        before, last = teacher.stages[2:]
        project = lambda given, wanted, own: CrossAttentionProjector(  # noqa: E731
            given.channels, wanted.channels, given.grid, wanted.grid, own_queries=own, **self.projector_options
        )
        if self.proxy:
            self._check_tail(teacher)
            self.stage3 = ModuleDict({view: project(student.stages[2], before, True) for view in self.weights})
        self.stage4 = ModuleDict({view: project(student.stages[3], last, not self.proxy) for view in self.weights})
        self.teacher, self.norm = teacher, FinalNorm(teacher)
        _ = self.norm.name  # found here, so that no training step has to
        self.observer = Observer(teacher, stages=[4], knowledge=())

    @staticmethod
    def _check_tail(teacher: StageView) -> None:
        try:
            teacher.check_tail(4)
        except ValueError as error:
            raise ValueError(f'{error}. Set proxy=False for ScaleKDLoss, or use another teacher') from error

    def forward(self, stage3_S: Tensor, stage4_S: Tensor, stage4_T: Tensor) -> Tensor:
        """Compute the loss. Projectors and teacher keep the current autocast; distances are in float32.

        Args:
            stage3_S (Tensor): Stage 3 of the learner, ``(B, C, H, W)``.
            stage4_S (Tensor): Stage 4 of the learner, ``(B, C, H, W)``.
            stage4_T (Tensor): Stage 4 of the target, ``(B, C, H, W)``.

        Returns:
            Tensor: A scalar, at least 0, or ``(B, )`` with ``reduction='none'``.
        """
        target = self.norm(stage4_T.detach() if self.detach_target else stage4_T)
        losses = []
        for view, weight in self.weights.items():
            seen = [self._through_teacher(self.stage3[view](stage3_S))] if self.proxy else []
            seen.append(self.stage4[view](stage4_S, *seen))
            losses += [weight * distance(x, target, centered=view == 'alternative') for x in seen]
        loss = sum(losses) * REFERENCE / math.prod(target.shape[2:])
        return self.loss_weight * (loss.mean() if self.reduction == 'mean' else loss)

    def _through_teacher(self, x: Tensor) -> Tensor:
        """Run the teacher's stage 4 and final norm on a map with the shape of its stage 3."""
        autocast, x = teacher_autocast(self.teacher.model, x)
        with autocast, checkpointing_off(self.teacher.model):
            native = self.teacher.from_map(x, 3, 'mean')
            seen, _ = self.observer(self.teacher.run_tail, native, 4)
        return self.norm(seen.map(4))


def distance(a: Tensor, b: Tensor, centered: bool = False) -> Tensor:
    """Return the squared distance of two maps for each image, summed over L2-normalized positions.

    Args:
        a (Tensor): Map ``(B, C, H, W)``.
        b (Tensor): Map ``(B, C, H, W)``.
        centered (bool): Whether to subtract each channel's mean over the positions first. The authors write this as a
            discrete cosine transform without its first coefficient. Defaults to False.
    """
    with torch.autocast(a.device.type, enabled=False):
        exact = torch.promote_types(a.dtype, torch.float32)  # float64 stays
        maps = (x.to(exact) for x in (a, b))
        if centered:
            maps = (x - x.mean(dim=(2, 3), keepdim=True) for x in maps)
        a, b = (F.normalize(x, dim=1) for x in maps)
        return (a - b).square().sum(dim=(1, 2, 3))
