"""Interface of distillers: one form for tas_mm's, for MMRazor's, and for a model without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mmengine.model import BaseModel
from mmrazor.models.distillers import ConfigurableDistiller
from torch import Tensor, nn

from ..knowledge import Knowledge, Observation
from ..stages import StageView

if TYPE_CHECKING:
    from ..assistant import HybridAssistant


class Distiller:
    """Interface of a distiller. Attributes that a distiller does not use are None or empty.

    Attributes:
        assistant (HybridAssistant | None): The assistant.
        student_view (StageView | None): View of the student.
        teacher_view (StageView | None): View of the teacher. None for several teachers.
        views (tuple): Views of student and teacher, or empty.
        student_observer (Observer): Observer of the student's pass.
        teacher_observer (Observer | tuple): Observer of the teacher's pass, or one for each of several teachers.
        student_reads (set): Readings of the student that the losses use: ``'feature'``, ``'logits'``, ``'stage1'``, ...
        teacher_reads (set): Readings of the teacher that the losses use.
        paths (dict): Weight of each of the three paths, if there are any.
        left_out (dict): Losses that are not possible for the pair, with the reason.
        uses_recorders (bool): Whether the config has MMRazor recorders, whose records in-place modules would overwrite.
    """

    assistant: HybridAssistant | None = None
    student_view: StageView | None = None
    teacher_view: StageView | None = None
    views: tuple[StageView, ...] = ()
    student_observer: Any
    teacher_observer: Any
    student_reads: frozenset[str] = frozenset()
    teacher_reads: frozenset[str] = frozenset()
    paths: Mapping[str, float] = {}
    left_out: dict[str, str] = {}
    uses_recorders = False

    @property
    def teacher_views(self) -> tuple[StageView | None, ...]:
        """Views of all teachers."""
        return (self.teacher_view,)

    def forward(self, student: Observation, teacher: Observation, labels: Tensor | None) -> dict[str, Tensor]:
        """Compute the losses of a batch from what student and teacher know.

        Args:
            student (Observation): Observation of the student's pass.
            teacher (Observation): Observation of the teacher's pass.
            labels (Tensor | None): Class indices ``(B, )``. None for images without labels.

        Returns:
            dict: Losses by name, each a scalar.
        """
        raise NotImplementedError

    def run_assistant(self, student: Observation, teacher: Observation | None) -> Knowledge | None:
        """Return the assistant's knowledge of a batch. None if there is no assistant."""
        return None

    if TYPE_CHECKING:
        __call__: Callable[..., dict[str, Tensor]]


class _NoDistiller(Distiller):
    """The distiller of a model that does not distill."""


class _RazorObserver:
    """Runs a pass inside the recorders and deliveries of an MMRazor distiller, which keeps the records itself."""

    view = None

    def __init__(self, distiller: ConfigurableDistiller, student: bool) -> None:
        self.distiller, self.student = distiller, student

    def __call__(self, run, *args, regions: Tensor | None = None, **kwargs):
        self.distiller.set_deliveries_override(self.student)
        side = self.distiller.student_recorders if self.student else self.distiller.teacher_recorders
        with side, self.distiller.deliveries:
            return Observation(), run(*args, **kwargs)


class _RazorDistiller(Distiller):
    """An MMRazor distiller, which reads its recorders itself."""

    uses_recorders = True

    def __init__(self, distiller: ConfigurableDistiller) -> None:
        self.distiller = distiller
        self.student_observer = _RazorObserver(distiller, student=True)
        self.teacher_observer = _RazorObserver(distiller, student=False)
        self.teacher_reads = frozenset(distiller.teacher_recorders.recorders)

    def __call__(self, student: Observation, teacher: Observation, labels: Tensor | None) -> dict[str, Tensor]:
        try:
            return self.distiller.compute_distill_losses()
        finally:
            for side in (self.distiller.student_recorders, self.distiller.teacher_recorders):
                for recorder in side.recorders.values():
                    recorder.reset_data_buffer()


def interface_of(model: BaseModel | nn.Module) -> Distiller:
    """Return the interface of a model's distiller. A model without a distiller gets one with nothing in it."""
    distiller = getattr(model, 'distiller', None)
    if isinstance(distiller, Distiller):
        return distiller
    return _RazorDistiller(distiller) if isinstance(distiller, ConfigurableDistiller) else _NoDistiller()
