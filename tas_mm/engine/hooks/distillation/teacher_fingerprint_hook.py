"""Check that a resumed distillation continues with the same teacher.

No checkpoint contains the teacher, which is loaded from its own file. If that file was replaced, the student would
silently learn from another teacher. So checkpoints contain the fingerprint of the teacher's weights.
"""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from tas_mm.models.teachers import FrozenTeacher, fingerprint
from tas_mm.models.utils import unwrap
from tas_mm.registry import HOOKS


@HOOKS.register_module()
class TeacherFingerprintHook(Hook):
    """Store the teacher's fingerprint in every checkpoint, and compare it on resuming.

    Models without a teacher are skipped.
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
        """Compute the fingerprint before other hooks change the weights."""
        self._fingerprint(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the fingerprint to a checkpoint."""
        if (value := self._fingerprint(runner)) is not None:
            checkpoint['meta']['teacher'] = value

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the fingerprints when a run is resumed.

        Raises:
            ValueError: If the run began with another teacher, unless ``model.allow_teacher_change`` is set.
        """
        before = checkpoint.get('meta', {}).get('teacher')
        if not runner._resume or before is None or before == (now := self._fingerprint(runner)):
            return
        if not getattr(unwrap(runner.model), 'allow_teacher_change', False):
            raise ValueError(
                f'resume: this run began with another teacher. The fingerprint of its weights is {before}, but that of '
                f'model.teacher with model.teacher_ckpt is now {now}. Set model.teacher_ckpt to the first weights, or, '
                'to continue with these, set model.allow_teacher_change=True'
            )
        runner.logger.warning(f'Continuing with another teacher: its fingerprint is {now}, and was {before}')
