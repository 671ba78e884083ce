"""Validation of student, assistant and teacher, each under its own key.

The student's metrics keep their plain names (``accuracy/top1``), which ``save_best`` and everything else in the
toolboxes look for; the others are ``assistant.accuracy/top1`` and ``teacher.accuracy/top1``. Each network runs once a
batch, and the hooks are called once, in pairs, so that EMA swaps its weights in and out again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, ValLoop, autocast
from torch.utils.data import DataLoader

from tas_mm.models.algorithms import TAS
from tas_mm.models.distillers import interface_of
from tas_mm.models.utils import unwrap
from tas_mm.registry import LOOPS

from .metrics import evaluator_for


@LOOPS.register_module()
class TASValLoop(ValLoop):
    """Validate the student always, assistant and teacher by interval.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): As in MMEngine.
        evaluator (Evaluator | dict | list): As in MMEngine; each network gets a copy of its own.
        fp16 (bool): Whether to validate in half precision. Defaults to False.
        assistant_interval (int, optional): Validate the assistant every n-th time. 0 or None disables it. Defaults to
            1.
        teacher_interval (int, optional): Validate the teacher every n-th time. 0 validates it the first time only,
            since it does not change; None disables it. Defaults to 0.

    Raises:
        ValueError: If an interval is neither None nor a whole number of at least 0.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        assistant_interval: int | None = 1,
        teacher_interval: int | None = 0,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        for name, value in (('assistant_interval', assistant_interval), ('teacher_interval', teacher_interval)):
            if value is not None and not (isinstance(value, int) and value >= 0):
                raise ValueError(f'val_cfg.{name}={value!r}. Expected a whole number of at least 0, or None for never')
        self.assistant_interval = assistant_interval
        self.teacher_interval = teacher_interval
        self.teacher_metrics: dict[str, float] = {}
        """The teacher's metrics, if CheckTeacherHook has measured them on the whole set."""

    def _due(self) -> list[str]:
        """List the roles besides the student to validate this time."""
        # A student may be trained alone under the same recipe; detectors have no logits.
        if not isinstance(self._algorithm, TAS) or not self._algorithm.gives_logits:
            return []
        assistant = interface_of(self._algorithm).assistant
        n = self._validations + 1  # this one
        roles = []
        if assistant is not None and self.assistant_interval and n % self.assistant_interval == 0:
            roles.append('assistant')
        if self._teacher_due(n) and not (n == 1 and self.teacher_metrics):
            roles.append('teacher')
        return roles

    def _teacher_due(self, n: int) -> bool:
        """Tell whether the n-th validation has the teacher's metrics."""
        every = self.teacher_interval
        return every is not None and (n == 1 or (every > 0 and n % every == 0))

    @property
    def _validations(self) -> int:
        """Number of validations so far; kept where it survives resuming."""
        return self.runner.message_hub.runtime_info.get('validations', 0)

    @property
    def _algorithm(self) -> torch.nn.Module:
        return unwrap(self.runner.model)

    def run(self) -> dict:
        """Launch validation and return the metrics of all networks that were due."""
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        self.runner.model.eval()
        self._forget_old_metrics()
        self.evaluators = {role: evaluator_for(role, self.evaluator) for role in self._due()}
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        size = len(self.dataloader.dataset)
        metrics = self.evaluator.evaluate(size)
        if self._validations == 0 and self._teacher_due(1):
            metrics.update({f'teacher.{key}': value for key, value in self.teacher_metrics.items()})
        for role, evaluator in self.evaluators.items():
            metrics.update({f'{role}.{key}': value for key, value in evaluator.evaluate(size).items()})
        self.runner.message_hub.update_info('validations', self._validations + 1)
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    def _forget_old_metrics(self) -> None:
        """Drop earlier values from the hub, which would be logged again as if they had been measured now."""
        hub = self.runner.message_hub
        for key in [key for key in hub.log_scalars if key.startswith(('val/assistant.', 'val/teacher.'))]:
            del hub.log_scalars[key]
            hub._resumed_keys.pop(key, None)  # or resuming would miss it

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Validate one batch."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        algorithm = self._algorithm
        with autocast(enabled=self.fp16):
            if self.evaluators:
                data = algorithm.data_preprocessor(data_batch, False)
                outputs = algorithm.predict_roles(**data, roles=['student', *self.evaluators])
            else:
                outputs = {'student': algorithm.val_step(data_batch)}
        for role, samples in outputs.items():
            evaluator = self.evaluators.get(role, self.evaluator)
            evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook('after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs['student'])
