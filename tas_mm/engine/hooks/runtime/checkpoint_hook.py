"""Save checkpoints so that a crash or a full disk at any moment loses nothing that was saved."""

from __future__ import annotations

import copy
import os.path as osp
import re
from contextlib import ExitStack
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from tas_mm.registry import HOOKS, refuse_unknown
from tas_mm.student import student_path

from ...checkpoints import ATOMIC_BACKEND, archive_previous_run, atomic_write, safe_loading


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's ``CheckpointHook`` with the same arguments, and a ValueError for any other argument.

    MMEngine overwrites files in place, and removes an outdated checkpoint or the previous best *before* it writes the
    next. Here files are written atomically. ``last_checkpoint`` changes after its file is on the disk, and only then is
    an outdated checkpoint removed. When a new run begins in the folder of a previous one, the previous run's
    checkpoints are moved to ``earlier_*`` inside it; MMEngine would overwrite them. Storage that is not local
    (``s3://``) is written as MMEngine writes it.

    A validation without the metric of ``save_best`` is skipped if an earlier one had it, which happens for a probe with
    an interval.

    From ``before_run`` to ``after_run`` MMEngine loads checkpoints under :func:`safe_loading`.
    """

    _default_greater_keys = [*MMEngineCheckpointHook._default_greater_keys, 'agreement']

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # MMEngine's hook accepts any keyword and only fails at the first save. Reject unknown ones here.
        refuse_unknown('default_hooks.checkpoint', kwargs, MMEngineCheckpointHook)
        super().__init__(*args, **kwargs)
        self._loading = ExitStack()

    def before_run(self, runner: Runner) -> None:
        """Restrict what checkpoints may contain, before the run loads the first one."""
        self._loading.close()  # left over from a run that failed
        self._loading.enter_context(safe_loading())

    def after_run(self, runner: Runner) -> None:
        """Restore MMEngine's loader."""
        self._loading.close()

    def before_train(self, runner: Runner) -> None:
        """Find the folder for checkpoints, and the last checkpoint of a resumed run."""
        kept = list(runner.message_hub.runtime_info.get('keep_ckpt_ids', []))
        super().before_train(runner)
        for step in kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else ():
            self._remove(self._path(step))  # MMEngine removed the checkpoint, but not the student's file
        if type(self.file_backend) is LocalBackend:  # type: ignore[has-type]
            self.backend_args = dict(backend=ATOMIC_BACKEND)
            if runner.iter == 0:
                self._archive_previous_run(runner)
        self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')

    def _archive_previous_run(self, runner: Runner) -> None:
        barrier()  # until all processes have loaded their initial weights, which may be one of these files
        if not is_main_process():
            return
        archive = archive_previous_run(self.out_dir, re.sub(r'\{.*?\}', '*', self.filename_tmpl), runner.work_dir)
        if archive is not None:
            runner.logger.warning(
                f'{self.out_dir} has checkpoints of an earlier run, but this run starts anew. They are now in {archive}'
            )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids[0]
            self.keep_ckpt_ids.append(step)  # a full queue drops its first entry
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            atomic_write(self.last_ckpt.encode(), osp.join(runner.work_dir, 'last_checkpoint'))
            if outdated is not None and self._path(outdated) != self.last_ckpt:  # filename_tmpl may lack the step
                self._remove(self._path(outdated))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        outdated: list[str] = []
        metrics = self._with_best_keys(runner, metrics) if self.save_best else metrics
        backend = self.file_backend  # type: ignore[has-type]
        self.file_backend = copy.copy(backend)
        self.file_backend.remove = outdated.append
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        best = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
        best = [osp.realpath(path) for path in best if path]
        for path in map(osp.realpath, outdated):
            # A validation repeated after a crash writes the same best again. Files in other folders are other runs'.
            if path not in best and osp.dirname(path) == osp.realpath(self.out_dir):
                self._remove(path)

    def _with_best_keys(self, runner: Runner, metrics: dict) -> dict:
        """Add None, which MMEngine skips, for metrics of ``save_best`` that only earlier validations measured.

        Raises:
            ValueError: If no validation has measured one of them.
        """
        info = runner.message_hub.runtime_info
        if 'auto' in self.key_indicators:  # keep the first run's choice after resuming
            runner.message_hub.update_info('best_key', info.get('best_key') or next(iter(metrics)))
            self._init_rule(self.rules, [info['best_key']])
        keys = self.key_indicators
        for key in keys:
            if key not in metrics and ('best_score' if len(keys) == 1 else f'best_score_{key}') not in info:
                raise ValueError(
                    f'default_hooks.checkpoint.save_best={key!r}: no validation has measured it. Expected one of '
                    f'{", ".join(metrics)}'
                )
        return dict.fromkeys(keys) | metrics

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _remove(self, checkpoint: str) -> None:
        """Remove an outdated checkpoint and the student's file beside it."""
        for path in (checkpoint, student_path(checkpoint)):
            if is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)
