"""Validate student, assistant and teacher, each under its own key.

The student's metrics keep their plain names (``accuracy/top1``), which ``save_best`` and the rest of the toolboxes
expect. The others are ``assistant.accuracy/top1`` and ``teacher.accuracy/top1``. Each network runs once per batch, and
the hooks are called once, in pairs, so that EMA swaps its weights in and out again. Probes measure features, for
networks without a head and images without labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from mmengine import dist
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, ValLoop, autocast
from torch.utils.data import DataLoader

from tas_mm.models.algorithms import TAS
from tas_mm.models.knowledge import labels_of
from tas_mm.models.utils import unwrap
from tas_mm.registry import LOOPS, refuse_unknown

from .hook_checks import check_hooks
from .metrics import evaluator_for
from .probes import AgreementProbe, FeatureReader, LabelProbe, Probe, probe_roles
from .probes.probe import features_of

PROBED = tuple(f'val/{name}/' for name in ('agreement', 'knn', 'linear'))
"""Prefixes of the student's probe metrics in the message hub."""


@LOOPS.register_module()
class TASValLoop(ValLoop):
    """Validate the student always, and assistant and teacher at intervals.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): As in MMEngine.
        evaluator (Evaluator | dict | list): As in MMEngine. Each network gets its own copy. ``[]`` if images have no
            labels or networks no head.
        fp16 (bool): Whether to validate in half precision. Defaults to False.
        assistant_interval (int, optional): Validate the assistant every n-th time. 0 or None disables it. Defaults to
            1.
        teacher_interval (int, optional): Validate the teacher every n-th time. 0 validates it the first time only,
            since it does not change. None disables it. Defaults to 0.
        agreement (bool | dict, optional): Whether to measure how far student and assistant agree with the teacher on
            validation images, or options of :class:`AgreementProbe`: ``agreement/cka``, ``agreement/neighbors`` and,
            if a loss has a projection, ``agreement/cosine`` and ``agreement/retrieval``. Defaults to None: only without
            an evaluator.
        probe (dict, optional): Labeled images for ``knn/top1`` and ``linear/top1``: options of :class:`LabelProbe`.
            ``train``, a data set, is required. ``val`` defaults to the data set of the validation. Teachers are
            measured at ``teacher_interval``. Defaults to None.

    Raises:
        ValueError: If an interval is neither None nor a whole number of at least 0, if a probe has an unknown option,
            if nothing would be measured, or if a hook of the runner cannot work in a distillation.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        assistant_interval: int | None = 1,
        teacher_interval: int | None = 0,
        agreement: bool | dict | None = None,
        probe: dict | None = None,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if isinstance(self._algorithm, TAS):
            check_hooks(runner.hooks)
        for name, value in (('assistant_interval', assistant_interval), ('teacher_interval', teacher_interval)):
            if value is not None and not (isinstance(value, int) and value >= 0):
                raise ValueError(f'val_cfg.{name}={value!r}. Expected a whole number of at least 0, or None for never')
        self.assistant_interval = assistant_interval
        self.teacher_interval = teacher_interval
        self.teacher_metrics: dict[str, float] = {}
        """The teacher's metrics, if CheckTeacherHook has measured them on the whole set."""
        self.probes = list(self._build_probes(agreement, probe))
        self.reader = FeatureReader(self._algorithm) if self.probes else None
        if not self.probes and not self.evaluator.metrics:
            raise ValueError('val_evaluator=[] and no val_cfg.probe: nothing would be measured. Set one of the two')
        if self.evaluator.metrics and self._is_headless():
            raise ValueError(
                'val_evaluator needs logits, but model.architecture has no head. Set val_evaluator=[], with which '
                'tas_mm.TASValLoop measures the agreement with the teacher, or give the student a head'
            )

    def _is_headless(self) -> bool:
        """Return True if the student has no head."""
        algorithm = self._algorithm
        return isinstance(algorithm, TAS) and algorithm.gives_logits and 'student' not in algorithm.predicting_roles

    def _build_probes(self, agreement: bool | dict | None, probe: dict | None) -> Iterator[Probe]:
        dataset = self.dataloader.dataset
        if probe is not None:
            refuse_unknown('val_cfg.probe', probe, LabelProbe)
            if 'train' not in probe:
                raise ValueError(
                    'val_cfg.probe has no train. Expected a labeled data set, dict(type=..., pipeline=...)'
                )
            yield LabelProbe(**{'val': dataset, **probe})
        wanted = not self.evaluator.metrics if agreement is None else agreement is not False
        if wanted and isinstance(self._algorithm, TAS):  # not a student trained alone with the same recipe
            options = agreement if isinstance(agreement, dict) else {}
            refuse_unknown('val_cfg.agreement', options, AgreementProbe)
            yield AgreementProbe(dataset, self._algorithm, **options)

    def probe_datasets(self) -> dict[str, Any]:
        """Return the data sets that only probes read, by their key in the config."""
        return {key: dataset for probe in self.probes for key, dataset in probe.datasets().items()}

    def _due(self) -> list[str]:
        """List the roles besides the student to validate this time."""
        # A student may be trained alone with the same recipe.
        if not isinstance(self._algorithm, TAS) or not self.evaluator.metrics:
            return []
        n = self._validations + 1  # this one
        due = dict(
            assistant=bool(self.assistant_interval) and n % self.assistant_interval == 0,
            teacher=self._teacher_due(n) and not (n == 1 and self.teacher_metrics),
        )
        return [role for role, is_due in due.items() if is_due and role in self._algorithm.predicting_roles]

    def _teacher_due(self, n: int) -> bool:
        """Return True if the n-th validation has the teacher's metrics."""
        every = self.teacher_interval
        return every is not None and (n == 1 or (every > 0 and n % every == 0))

    @property
    def _validations(self) -> int:
        """Number of validations so far, in the message hub, which resuming restores."""
        return self.runner.message_hub.runtime_info.get('validations', 0)

    @property
    def _algorithm(self) -> torch.nn.Module:
        return unwrap(self.runner.model)

    def run(self) -> dict:
        """Run the validation. Return the metrics of all networks that were due."""
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        self.runner.model.eval()
        self._forget_old_metrics()
        self.evaluators = {role: evaluator_for(role, self.evaluator) for role in self._due()}
        if self.evaluator.metrics:
            for idx, data_batch in enumerate(self.dataloader):
                self.run_iter(idx, data_batch)
        size = len(self.dataloader.dataset)
        metrics = self.evaluator.evaluate(size)
        if self._validations == 0 and self._teacher_due(1):
            metrics.update({f'teacher.{key}': value for key, value in self.teacher_metrics.items()})
        for role, evaluator in self.evaluators.items():
            metrics.update({f'{role}.{key}': value for key, value in evaluator.evaluate(size).items()})
        metrics.update(self._probe())
        self.evaluators = {}  # a hook such as EMAHook(evaluate_on_origin=True) may validate only the student once more
        self.runner.message_hub.update_info('validations', self._validations + 1)
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    def _probe(self) -> dict[str, float]:
        """Run the probes that are due."""
        loader, metrics = self.dataloader, {}
        for probe in self.probes:
            if not probe.due(self._validations):
                continue
            roles = [role for role in probe_roles(self._algorithm) if self._probes_role(probe, role)]
            batch_size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
            options = dict(batch_size=batch_size, num_workers=loader.num_workers, fp16=self.fp16)
            read = partial(features_of, self.reader, collate_fn=loader.collate_fn, **options)
            collected = probe.collect(read, roles)
            found = [probe.metrics(collected) if dist.is_main_process() else None]
            dist.broadcast_object_list(found)
            for role, measured in found[0].items():
                prefix = '' if role == 'student' else f'{role}.'
                metrics.update({prefix + name: value for name, value in measured.items()})
        return metrics

    def _probes_role(self, probe: Probe, role: str) -> bool:
        if role == 'assistant':
            return bool(self.assistant_interval)
        return role == 'student' or probe.compares or self._teacher_due(self._validations + 1)

    def _forget_old_metrics(self) -> None:
        """Remove earlier values from the message hub, which would be logged again as if they were new."""
        hub = self.runner.message_hub
        for key in [key for key in hub.log_scalars if key.startswith(('val/assistant.', 'val/teacher', *PROBED))]:
            del hub.log_scalars[key]
            hub._resumed_keys.pop(key, None)  # resuming would miss it

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
            try:
                evaluator.process(data_samples=samples, data_batch=data_batch)
            except (KeyError, AttributeError) as error:
                if labels_of(samples) is not None:
                    raise
                raise ValueError(
                    'val_evaluator needs labels, but the images of val_dataloader.dataset have none. Set '
                    'val_evaluator=[], with which tas_mm.TASValLoop measures the agreement with the teacher'
                ) from error
        self.runner.call_hook('after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs['student'])
