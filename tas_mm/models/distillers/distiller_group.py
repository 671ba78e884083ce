"""Several teachers: a distiller, and with it an assistant, for each; their losses weighted and summed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mmengine.model import BaseModel, ModuleList
from mmrazor.models.distillers.base_distiller import BaseDistiller
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..knowledge import Observation
from ..stages import Observer
from .interface import Distiller


class GroupObserver:
    """Watches one pass of the student for several distillers.

    Args:
        observers (sequence): Observers of the student, one for each distiller.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers
        self.view = observers[0].view

    def __call__(self, run: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[tuple[Observation, ...], Any]:
        """Run the student; return what each distiller wants to know, and what the student returned."""
        for observer in self.observers:
            run = partial(observer, run)
        output, seen = run(*args, **kwargs), []
        for _ in self.observers:
            knowledge, output = output
            seen.append(knowledge)
        return tuple(reversed(seen)), output


@MODELS.register_module()
class DistillerGroup(Distiller, BaseDistiller):
    """One distiller for each of several teachers. :class:`TAS` makes it if ``model.teacher`` is a list.

    The loss ``loss_ts_kd`` of the first teacher's distiller is logged as ``distill.teacher0.loss_ts_kd``, its weight
    applied.

    Args:
        distillers (sequence): Configs of :class:`PairDistiller` or :class:`TASDistiller`, one for each teacher.
        weights (sequence): Factor on the losses of each.
    """

    def __init__(self, distillers: Sequence[dict], weights: Sequence[float]) -> None:
        super().__init__()
        self.distillers = ModuleList(RAZOR_MODELS.build(dict(cfg)) for cfg in distillers)
        self.weights = list(weights)

    @property
    def uses_recorders(self) -> bool:
        """Whether one of the configs has recorders, which in-place modules would disturb."""
        return any(distiller.uses_recorders for distiller in self.distillers)

    def prepare_from_student(self, model: BaseModel) -> None:
        """Let each distiller take its view of the student."""
        for distiller in self.distillers:
            distiller.prepare_from_student(model)
        self.student_view = self.distillers[0].student_view

    def prepare_from_teacher(self, models: Sequence[nn.Module]) -> None:
        """Bind each distiller to its teacher.

        Raises:
            ValueError: If a teacher does not match the student, or a distiller has deliveries, which need one teacher.
        """
        for i, (distiller, teacher) in enumerate(zip(self.distillers, models)):
            try:
                distiller.prepare_from_teacher(teacher)
            except ValueError as error:
                raise ValueError(f'{error} (number {i} of model.teacher)') from error
            if distiller.deliveries.deliveries:
                raise ValueError('model.distiller.distill_deliveries is there for one teacher only')
        sizes = {tuple(distiller.student_view.input_size) for distiller in self.distillers}
        if len(sizes) > 1:
            raise ValueError(
                f'model.teacher: the pairs are built for images of {sorted(sizes)}; set model.distiller.input_size '
                'to what the train pipeline gives'
            )
        self.student_view = self.distillers[0].student_view
        self.student_observer = GroupObserver([distiller.student_observer for distiller in self.distillers])
        self.teacher_observer = tuple(distiller.teacher_observer for distiller in self.distillers)

    def forward(
        self, student: Sequence[Observation], teacher: Sequence[Observation], labels: Tensor | None
    ) -> dict[str, Tensor]:
        """Compute the losses of every distiller, weighted; one observation for each, see :class:`Distiller`."""
        losses = {}
        for i, (distiller, weight, *seen) in enumerate(zip(self.distillers, self.weights, student, teacher)):
            for name, loss in distiller(*seen, labels).items():
                losses[f'teacher{i}.{name}'] = weight * loss
        return losses

    def compute_distill_losses(self) -> dict[str, Tensor]:
        """Do not use: MMRazor's way without arguments; :meth:`forward` takes the observations."""
        raise NotImplementedError('DistillerGroup is called with observations, by tas_mm.TAS')
