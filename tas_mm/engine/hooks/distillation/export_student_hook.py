"""Save the student alone beside every checkpoint, in a file that plain MMPretrain loads."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner, save_checkpoint

from tas_mm.registry import HOOKS
from tas_mm.student import student_checkpoint, student_config, student_path, warn_of_components


@HOOKS.register_module()
class ExportStudentHook(Hook):
    """Write ``student_epoch_9.pth`` before ``epoch_9.pth``, and the same for the best checkpoint.

    The file contains the weights that a test of the checkpoint would use (the average if there is an ``EMAHook``), the
    student's config and the names of the classes. ``torch.load(weights_only=True)`` reads it. Runs whose config has no
    ``model.architecture`` are skipped. ``tas_mm.CheckpointHook`` removes the files of outdated checkpoints.
    """

    # Runs after EMAHook has put the average into the checkpoint, and before CatchUpValidationHook, which may save.
    priority = 95

    def __init__(self) -> None:
        self.config: Config | None = None
        self.saved: dict[str, str] = {}

    def before_train(self, runner: Runner) -> None:
        """Read the student's config, and the names of the checkpoints that a resumed run already has."""
        self.saved = self._named(runner)
        if 'architecture' in (runner.cfg.get('model') or {}):
            self.config = student_config(runner.cfg)
            warn_of_components(self.config, 'student_*.pth')

    @staticmethod
    def _named(runner: Runner) -> dict[str, str]:
        """List checkpoints that ``CheckpointHook`` has saved or is about to save, from the message hub."""
        info = runner.message_hub.runtime_info
        names = ('last_ckpt', 'best_ckpt')
        return {key: value for key, value in info.items() if key.startswith(names) and value}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the student's file for the checkpoint that is about to be saved."""
        named = self._named(runner)
        # Compared by identity: CheckpointHook joins folder and name again at every save, even if the name is the same.
        new = {path for key, path in named.items() if path is not self.saved.get(key)}
        self.saved = named
        if self.config is None or not new or not is_main_process():
            return
        student = student_checkpoint(checkpoint, self.config)
        hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        for path in sorted(new):
            save_checkpoint(student, student_path(path), backend_args=hook.backend_args)
