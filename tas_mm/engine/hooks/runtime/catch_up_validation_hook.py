"""Repeat a validation that a crash interrupted.

MMEngine saves a checkpoint before it validates the epoch, and a resumed run continues with the next epoch. Without this
hook the validation would be missing: in the log, in the choice of the best checkpoint, and in schedules that need it.
"""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from tas_mm.registry import HOOKS


@HOOKS.register_module()
class CatchUpValidationHook(Hook):
    """Validate at the start if a resumed checkpoint was saved before its validation."""

    priority = 'LOWEST'  # when training starts, the other hooks must be ready

    @staticmethod
    def _place(runner: Runner) -> int:
        return runner.epoch if isinstance(runner.train_loop, EpochBasedTrainLoop) else runner.iter

    def before_val(self, runner: Runner) -> None:
        """Record that this validation took place, in its checkpoints too."""
        runner.message_hub.update_info('validated', self._place(runner))

    def before_train(self, runner: Runner) -> None:
        """Run the validation if it was due but not done."""
        loop, place = runner.train_loop, self._place(runner)
        if not (runner._resume and place and isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop))):
            return
        loop._decide_current_val_interval()
        last = runner.max_epochs if isinstance(loop, EpochBasedTrainLoop) else runner.max_iters
        due = runner.val_loop is not None and place >= loop.val_begin
        due = due and (place % loop.val_interval == 0 or place == last)
        if due and runner.message_hub.runtime_info.get('validated') != place:
            runner.logger.info('The checkpoint was saved before its validation, which comes first now.')
            runner.val_loop.run()
