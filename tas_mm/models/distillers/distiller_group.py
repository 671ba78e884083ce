"""DistillerGroup: several teachers, each with its own distiller and assistant, and weighted losses.

Source of the weights by image: UNIC, arXiv 2408.05088 (teacher dropping).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModel, ModuleList
from mmrazor.models.distillers.base_distiller import BaseDistiller
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..knowledge import Observation
from ..stages import Observer, StageView
from ..utils import REDUCTIONS
from .interface import Distiller


class GroupObserver:
    """Observes one pass of the student for several distillers.

    Args:
        observers (sequence): Observers of the student, one for each distiller.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers
        self.view = observers[0].view

    def __call__(self, run: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[tuple[Observation, ...], Any]:
        """Run the student. Return one observation for each distiller, and the student's output."""
        for observer in self.observers:
            run = partial(observer, run)
        output, seen = run(*args, **kwargs), []
        for _ in self.observers:
            knowledge, output = output
            seen.append(knowledge)
        return tuple(reversed(seen)), output


@MODELS.register_module()
class DistillerGroup(Distiller, BaseDistiller):
    """One distiller for each of several teachers. :class:`TAS` builds it if ``model.teacher`` is a list.

    The weighted loss ``loss_ts_kd`` of the first teacher's distiller is logged as ``distill.teacher0.loss_ts_kd``.

    Args:
        distillers (sequence): Configs of :class:`PairDistiller` or :class:`TASDistiller`, one for each teacher.
        weights (sequence): Loss weight of each teacher.
        by_image (bool): Whether to drop teachers image by image. The teacher with the largest loss for an image is
            kept, each other one with probability 0.5. The weights of the kept teachers are scaled to the same sum. It
            needs losses with ``reduction='none'``. Defaults to False.

    Raises:
        ValueError: With ``by_image``, if a loss does not give a value per image.
    """

    def __init__(self, distillers: Sequence[dict], weights: Sequence[float], by_image: bool = False) -> None:
        super().__init__()
        self.distillers = ModuleList(RAZOR_MODELS.build(dict(cfg)) for cfg in distillers)
        self.weights = list(weights)
        self.by_image = by_image

    @property
    def teacher_views(self) -> tuple[StageView | None, ...]:
        """Views of all teachers."""
        return tuple(distiller.teacher_view for distiller in self.distillers)

    @property
    def uses_recorders(self) -> bool:  # type: ignore[override]
        """True if one of the configs has recorders, whose records in-place modules would overwrite."""
        return any(distiller.uses_recorders for distiller in self.distillers)

    def prepare_from_student(self, model: BaseModel) -> None:
        """Prepare each distiller from the student."""
        for distiller in self.distillers:
            distiller.prepare_from_student(model)
        self.student_view = self.distillers[0].student_view

    def prepare_from_teacher(self, models: Sequence[nn.Module]) -> None:
        """Bind each distiller to its teacher.

        Raises:
            ValueError: If a teacher does not match the student, or if a distiller has deliveries.
        """
        for i, (distiller, teacher) in enumerate(zip(self.distillers, models)):
            try:
                distiller.prepare_from_teacher(teacher)
            except ValueError as error:
                raise ValueError(f'{error} (number {i} of model.teacher)') from error
            if distiller.deliveries.deliveries:
                raise ValueError('model.distiller.distill_deliveries needs one teacher, but model.teacher is a list')
        sizes = {tuple(distiller.student_view.input_size) for distiller in self.distillers}
        if len(sizes) > 1:
            raise ValueError(
                f'model.teacher: the pairs are built for images of {sorted(sizes)}. Set model.distiller.input_size '
                'to the size that train_pipeline gives'
            )
        if self.by_image:
            self._keep_values_per_image()
        self.student_view = self.distillers[0].student_view
        self.student_observer = GroupObserver([distiller.student_observer for distiller in self.distillers])
        self.teacher_observer = tuple(distiller.teacher_observer for distiller in self.distillers)

    def forward(  # type: ignore[override]
        self, student: Sequence[Observation], teacher: Sequence[Observation], labels: Tensor | None
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of every distiller from one observation for each; see :class:`Distiller`."""
        each = [distiller(*seen, labels) for distiller, *seen in zip(self.distillers, student, teacher)]
        weights = self._weights_by_image(each) if self.by_image else self.weights
        losses = {}
        for i, (own, weight) in enumerate(zip(each, weights)):
            for name, loss in own.items():
                losses[f'teacher{i}.{name}'] = (weight * loss).mean() if self.by_image else weight * loss
        return losses

    def _weights_by_image(self, each: Sequence[dict[str, Tensor]]) -> Tensor:
        """Return the weight of every teacher for every image, ``(teachers, B)``."""
        totals = torch.stack([sum(losses.values()).detach() for losses in each])  # teachers x B
        kept = torch.rand_like(totals) < 0.5
        kept.scatter_(0, totals.argmax(dim=0, keepdim=True), True)
        weights = kept * totals.new_tensor(self.weights)[:, None]
        return sum(self.weights) * weights / weights.sum(dim=0).clamp_min(1e-12)

    def _keep_values_per_image(self) -> None:
        for i, distiller in enumerate(self.distillers):
            for name, loss in distiller.distill_losses.items():
                if getattr(loss, 'reduction', None) not in REDUCTIONS:
                    raise ValueError(
                        f'model.teacher_weights: {name} of teacher {i} is a {type(loss).__name__}, which does not give '
                        "a value per image (reduction='none'). Use other losses, or numbers as weights"
                    )
                loss.reduction = 'none'

    def compute_distill_losses(self) -> dict[str, Tensor]:
        """Raise: MMRazor's call without observations does not work here."""
        raise NotImplementedError('DistillerGroup: call it with observations, as tas_mm.TAS does')
