"""Warn at the end of training if the assistant taught the student but was less accurate."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from tas_mm.models.distillers import interface_of
from tas_mm.models.utils import unwrap
from tas_mm.registry import HOOKS

from ...metrics import scalars


@HOOKS.register_module()
class WarnWeakAssistantHook(Hook):
    """Warn after the last validation if the assistant is less accurate than the student that learns from it.

    Runs whose validation does not measure both, such as those without :class:`TASValLoop`, are skipped.

    Args:
        metric (str): The evaluator's metric to compare. Defaults to ``'accuracy/top1'``.
    """

    def __init__(self, metric: str = 'accuracy/top1') -> None:
        self.metric = metric

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Compare the two accuracies, and name the options that may help."""
        train = runner._train_loop  # still a config if nothing trains
        if not isinstance(train, BaseLoop) or train.iter < train.max_iters:
            return
        student, assistant = (scalars(metrics or {}).get(f'{role}{self.metric}', 0.0) for role in ('', 'assistant.'))
        if not 0 < assistant < student:
            return  # also if nothing is distilled: no assistant was built
        distiller = interface_of(unwrap(runner.model))
        if not distiller.paths['AS']:
            return
        ways = 'Without that path'
        if distiller.assistant.early_role == 'student':
            first = "model.distiller.assistant=dict(early='teacher')"
            ways = f"With the teacher's stages first ({first}), or without that path"
        runner.logger.warning(
            f'The assistant ends less accurate ({assistant:.2f}) than the student ({student:.2f}) that learns from it. '
            f'{ways} (model.distiller.paths=dict(AS=0)) the student may improve: see '
            '"Which stages first" in docs/choosing_a_teacher.md'
        )
