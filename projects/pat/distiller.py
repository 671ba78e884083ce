"""PAT as a distiller: a pair's other terms, and PAT's loss, which needs more of the networks than a term can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tas_mm.models import Observation, PairDistiller
from tas_mm.registry import refuse_unknown

from .loss import PATLoss


class PATDistiller(PairDistiller):
    """Distiller of PAT (arXiv 2501.08885): :class:`PATLoss` beside the terms of a :class:`PairDistiller`.

    The paper adds plain distillation, as ``projects/pat/configs/pat.py`` does. The teacher stays bit-equal: terms and
    validation see it without prompts.

    Args:
        pat (dict, optional): Options of :class:`PATLoss`. Defaults to None, the authors' options.
        terms (dict, optional): As in :class:`PairDistiller`. Defaults to None.
        input_size (tuple | int, optional): As in :class:`PairDistiller`. Defaults to None.

    Raises:
        ValueError: If an option of ``pat`` is unknown or invalid, images are of many sizes, or the teacher cannot be
            prompted.
    """

    def __init__(
        self,
        pat: Mapping[str, Any] | None = None,
        terms: Mapping[str, dict | None] | None = None,
        input_size: tuple[int, int] | int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(terms=terms, input_size=input_size, init_cfg=init_cfg)
        self.pat_options = dict(pat or {})
        refuse_unknown('model.distiller.pat', self.pat_options, PATLoss)

    def bind(self) -> None:
        """Build attention, adapters and prompts for the stages of the pair."""
        super().bind()
        if self.teacher_view.any_size or self.teacher_view.logits_source is None:
            raise ValueError(f'{self.teacher_view.key}: PAT needs a classifier as its teacher, and images of one size')
        try:
            self.pat = PATLoss(*self.views, **self.pat_options)
        except ValueError as error:
            raise ValueError(f'model.distiller.pat: {error}') from error
        self.pat.prompted_teacher.check(self.teacher_view)

    def student_stages(self) -> set[int]:
        """Ask for all stages of the student."""
        return super().student_stages() | {1, 2, 3, 4}

    def teacher_stages(self) -> set[int]:
        """Ask for the teacher's stage 1, from which its prompted pass starts."""
        return super().teacher_stages() | {1}

    def forward(self, student: Observation, teacher: Observation, labels: Tensor | None) -> dict[str, Tensor]:
        """Compute the losses of the terms, and ``loss_pat``."""
        losses = super().forward(student, teacher, labels)
        return losses | dict(loss_pat=self.pat([student.map(stage) for stage in (1, 2, 3, 4)], teacher))
