"""A resumed distillation continues with the teacher that it began with.

No checkpoint contains the teacher: it is loaded from where it came from. If its file was replaced meanwhile, the
student would silently learn from another one. So checkpoints carry the fingerprint of its weights.
"""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from tas_mm.models.teachers import FrozenTeacher, fingerprint
from tas_mm.models.utils import unwrap
from tas_mm.registry import HOOKS


@HOOKS.register_module()
class TeacherFingerprintHook(Hook):
    """Keep the teacher's fingerprint in every checkpoint and compare it on resuming.

    Models without a teacher are left alone.
    """

    def __init__(self) -> None:
        self.fingerprint: str | None = None

    def _fingerprint(self, runner: Runner) -> str | None:
        teacher = getattr(unwrap(runner.model), 'teacher', None)
        if self.fingerprint is None and teacher is not None:
            ours = isinstance(teacher, FrozenTeacher)  # MMRazor's is a plain network
            self.fingerprint = teacher.fingerprint() if ours else fingerprint(teacher)
        return self.fingerprint

    def before_train(self, runner: Runner) -> None:
        """Take the fingerprint, before anything is done to the weights."""
        self._fingerprint(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the fingerprint to a checkpoint."""
        if (value := self._fingerprint(runner)) is not None:
            checkpoint['meta']['teacher'] = value

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the fingerprints of a resumed run.

        Raises:
            ValueError: If the run began with another teacher, unless ``model.allow_teacher_change`` is set.
        """
        before = checkpoint.get('meta', {}).get('teacher')
        if not runner._resume or before is None or before == (now := self._fingerprint(runner)):
            return
        if not getattr(unwrap(runner.model), 'allow_teacher_change', False):
            raise ValueError(
                f'resume: this run began with another teacher. The fingerprint of its weights is {before}, and that of '
                f'model.teacher with model.teacher_ckpt is now {now}. Name the weights it began with; or, if it is '
                'meant to continue with this one, set model.allow_teacher_change=True'
            )
        runner.logger.warning(f'Continuing with another teacher: its fingerprint is {now}, and was {before}.')
