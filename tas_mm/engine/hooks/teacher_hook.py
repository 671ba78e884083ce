"""A resumed distillation goes on with the teacher that it began with.

The teacher is in no checkpoint: it is loaded from where it came from. Were its file replaced meanwhile, the student
would silently learn from another one. So checkpoints carry the fingerprint of its weights.
"""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from tas_mm.models.algorithms.teacher import fingerprint
from tas_mm.registry import HOOKS


@HOOKS.register_module()
class TeacherHook(Hook):
    """Keep the teacher's fingerprint in every checkpoint and compare it on resuming.

    Models without a teacher are left alone.
    """

    def __init__(self) -> None:
        self.fingerprint: str | None = None

    def _fingerprint(self, runner: Runner) -> str | None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if self.fingerprint is None and hasattr(model, 'teacher'):
            self.fingerprint = fingerprint(model.teacher)
        return self.fingerprint

    def before_train(self, runner: Runner) -> None:
        """Take it, before anything is done to the weights."""
        self._fingerprint(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the fingerprint."""
        if (value := self._fingerprint(runner)) is not None:
            checkpoint['meta']['teacher'] = value

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare it.

        Raises:
            ValueError: If the run began with another teacher, unless ``model.accept_other_teacher`` says it may.
        """
        before = checkpoint.get('meta', {}).get('teacher')
        if not runner._resume or before is None or before == (now := self._fingerprint(runner)):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not getattr(model, 'accept_other_teacher', False):
            raise ValueError(
                f'resume: this run began with another teacher. The fingerprint of its weights is {before}, and that of '
                f'model.teacher with model.teacher_ckpt is now {now}. Name the weights it began with; or, if it is '
                'to go on with this one, set model.accept_other_teacher=True'
            )
        runner.logger.warning(f'Going on with another teacher: its fingerprint is {now}, and was {before}.')
