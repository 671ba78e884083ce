"""Several teachers: a distiller, and with it an assistant, for each; their losses weighted and summed."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModel, ModuleList
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import nn

from tas_mm.registry import MODELS

from ..stages import StagedClassifier


@MODELS.register_module()
class DistillerGroup(ConfigurableDistiller):
    """One distiller for each of several teachers. :class:`TAS` makes it where ``model.teacher`` is a list.

    The loss ``loss_ts_kd`` of the first teacher's distiller is logged as ``distill.teacher0.loss_ts_kd``, its weight
    applied.

    Args:
        distillers (sequence): Configs of :class:`PairDistiller` or :class:`TASDistiller`, one for each teacher.
        weights (sequence): What the losses of each are multiplied by.
    """

    def __init__(self, distillers: Sequence[dict], weights: Sequence[float]) -> None:
        super().__init__()
        self.distillers = ModuleList(RAZOR_MODELS.build(dict(cfg)) for cfg in distillers)
        self.weights = list(weights)

    def prepare_from_student(self, model: BaseModel) -> None:
        """First half of MMRazor's preparation, of each distiller."""
        for distiller in self.distillers:
            distiller.prepare_from_student(model)

    def prepare_from_teacher(self, model: nn.Module) -> None:
        """Second half: bind each to its teacher.

        Raises:
            ValueError: If a teacher does not fit the student, or a distiller has deliveries, of which only one can be.
        """
        for i, (distiller, teacher) in enumerate(zip(self.distillers, model.teachers)):
            try:
                distiller.prepare_from_teacher(teacher)
            except ValueError as error:
                raise ValueError(f'{error} (number {i} of model.teacher)') from error
            if distiller.deliveries.deliveries:
                raise ValueError('model.distiller.distill_deliveries is there for one teacher only')
        sizes = {tuple(distiller.student_view.input_size) for distiller in self.distillers}
        if len(sizes) > 1:
            raise ValueError(
                f'model.teacher: the pairs are laid out for images of {sorted(sizes)}; set model.distiller.input_size '
                'to what the train pipeline gives'
            )
        self.student_recorders = self._all('student_recorders')
        self.teacher_recorders = self._all('teacher_recorders')

    def _all(self, side: str) -> RecorderManager:
        """One manager of the recorders that the distillers have built."""
        manager = RecorderManager()
        for i, distiller in enumerate(self.distillers):
            for name, recorder in getattr(distiller, side).recorders.items():
                manager.recorders[f'teacher{i}.{name}'] = recorder
        return manager

    @property
    def student_view(self) -> StagedClassifier:
        return self.distillers[0].student_view

    def compute_distill_losses(self) -> LossResults:
        """The losses of every distiller, weighted."""
        losses = {}
        for i, (distiller, weight) in enumerate(zip(self.distillers, self.weights)):
            for name, loss in distiller.compute_distill_losses().items():
                losses[f'teacher{i}.{name}'] = weight * loss
        return losses
