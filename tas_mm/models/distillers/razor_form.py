"""Support for MMRazor's form of a distillation: recorders, connectors, losses, mappings and deliveries.

A config in that form, in part or whole, becomes what the short form works with: observations of the two networks.
Recorders that the config defines are MMRazor's. Names that it only mentions (``READINGS`` and ``gt_labels``) are read
from the observation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from mmengine.registry import DefaultScope
from mmrazor.models.task_modules import DistillDeliveryManager, RecorderManager
from torch import Tensor, nn

from ..assistant import HybridAssistant
from ..knowledge import Observation
from ..observer import Regions
from ..stages import LEVELS, READINGS, STAGES, Observer, StageView
from ..utils import each_tensor, to_float32
from .inference import detaches_target, precision_of, wants_labels

LABELS = 'gt_labels'
FIELDS = ('student_recorders', 'teacher_recorders', 'connectors', 'distill_losses', 'loss_forward_mappings')
Record = Mapping[str, Any]


def recorders_of(view: StageView, readings: Collection[str]) -> dict[str, dict]:
    """Return configs of the recorders that record the same as an observation of a view."""
    configs = {}
    sources = dict(feature=view.feature_source, logits=view.logits_source, dense_logits=view.dense_source)
    sources |= dict.fromkeys(LEVELS, view.pyramid_source)
    for reading in (*STAGES, *sources):
        if reading in readings:
            source = view.stages[STAGES.index(reading)].source if reading in STAGES else sources[reading]
            at_input = reading == 'feature' and view.feature_side == 'input'
            configs[reading] = dict(type='ModuleInputs' if at_input else 'ModuleOutputs', source=source)
    return configs


def record_of(reading: str, view: StageView, from_student: bool) -> dict[str, Any]:
    """Return MMRazor's description of a reading."""
    record = dict(recorder=reading, from_student=from_student)
    if reading in LEVELS:
        return dict(record, data_idx=LEVELS.index(reading))
    return dict(record, data_idx=0) if reading == 'feature' and view.feature_side == 'input' else record


def map_arguments(loss: type[nn.Module], *records: Record) -> dict[str, Record]:
    """Map the first arguments of a loss to the records of learner and target, and ``gt_labels`` to the labels.

    Raises:
        ValueError: If the loss takes another number of arguments.
    """
    arguments = {name: arg for name, arg in signature(loss.forward).parameters.items() if name not in ('self', LABELS)}
    positional = [arg for arg in arguments.values() if arg.kind is arg.POSITIONAL_OR_KEYWORD]
    needed = [arg for arg in positional if arg.default is arg.empty]
    if not len(needed) <= len(records) <= len(positional):
        raise ValueError(
            f'{loss.__name__} compares {", ".join(arg.name for arg in needed)}, but reads gives it '
            f'{len(records)}: {", ".join(record["recorder"] for record in records)}'
        )
    mapping = dict(zip(arguments, records))
    return dict(mapping, gt_labels=dict(recorder=LABELS, from_student=True)) if wants_labels(loss) else mapping


class RecordingObserver(Observer):
    """Observer that also runs MMRazor's recorders and deliveries, and returns their records.

    Args:
        view (StageView): View of the network.
        stages (iterable): As in :class:`Observer`.
        knowledge (collection): As in :class:`Observer`.
        recorders (RecorderManager): Recorders of the config.
        deliveries (DistillDeliveryManager): Deliveries of the config.
        override (bool): Whether deliveries replace the network's own values with the teacher's.
    """

    def __init__(
        self,
        view: StageView,
        stages: Iterable[int],
        knowledge: Collection[str],
        recorders: RecorderManager,
        deliveries: DistillDeliveryManager,
        override: bool,
    ) -> None:
        super().__init__(view, stages, knowledge)
        self.recorders, self.deliveries, self.override = recorders, deliveries, override

    def __call__(
        self, run: Callable[..., Any], *args: Any, regions: Regions = None, **kwargs: Any
    ) -> tuple[Observation, Any]:
        """Run a network; see :class:`Observer`."""
        self.deliveries.override_data = self.override
        recorders = self.recorders.recorders
        try:
            with self.recorders, self.deliveries:
                seen, output = super().__call__(run, *args, regions=regions, **kwargs)
            records = {name: list(recorder.data_buffer) for name, recorder in recorders.items()}
        finally:
            for recorder in recorders.values():
                recorder.reset_data_buffer()
        return seen.with_records(records), output


def build_recorders(configs: Mapping[str, dict], view: StageView, field: str) -> RecorderManager:
    """Build a config's recorders on the network of a view.

    Raises:
        ValueError: If a source is not a module of the network.
    """
    modules = dict(view.model.named_modules())
    for name, cfg in configs.items():
        if cfg['type'].startswith('Module') and cfg['source'] not in modules:
            near = get_close_matches(cfg['source'], modules, n=3, cutoff=0.4)
            raise ValueError(
                f'model.distiller.{field}.{name}.source={cfg["source"]!r} is not a module of {view.key}. '
                f'Closest names: {", ".join(near) or "none"}'
            )
    with DefaultScope.overwrite_default_scope('mmrazor'):
        manager = RecorderManager(configs)
    manager.initialize(view.model)
    return manager


class RazorForm:
    """Losses of a config in MMRazor's form.

    Args:
        mappings (dict): Records of each loss's arguments, by loss.
        losses (ModuleDict): The losses.
        connectors (ModuleDict): The connectors.
        recorders (dict): Names of the config's recorders of each side, by True (student) and False (teacher).

    Raises:
        ValueError: If a mapping names something that does not exist, or lacks an argument of its loss.
        TypeError: If a mapping is not a dict.
    """

    def __init__(
        self,
        mappings: Mapping[str, Mapping[str, Record]],
        losses: nn.ModuleDict,
        connectors: nn.ModuleDict,
        recorders: Mapping[bool, Collection[str]],
    ) -> None:
        self.mappings, self.distill_losses, self.connectors = mappings, losses, connectors
        self.recorders = recorders
        self._check()

    def losses(self, student: Observation, teacher: Observation, labels: Tensor | None) -> dict[str, Tensor]:
        """Compute all losses in float32, whatever the autocast. Each connector runs once per input."""
        connected: dict[tuple, Any] = {}
        losses = {}
        for name, mapping in self.mappings.items():
            loss = self.distill_losses[name]
            arguments = {}
            for i, (argument, record) in enumerate(mapping.items()):
                value = self.read(record, student, teacher, labels, connected)
                if i and self.reads_assistant(record) and detaches_target(loss) is None:
                    value = each_tensor(Tensor.detach, value)
                arguments[argument] = each_tensor(to_float32, value)
            with precision_of(loss, _device_of(student, teacher)):
                losses[name] = loss(**arguments)
        return losses

    def read(
        self,
        record: Record,
        student: Observation,
        teacher: Observation,
        labels: Tensor | None,
        connected: dict[tuple, Any],
    ) -> Any:
        """Read one record. ``connected`` caches the outputs of connectors."""
        place = {key: value for key, value in record.items() if key not in ('connector', 'connector_idx')}
        seen = student if record['from_student'] else teacher
        if 'connector' not in record:
            return read_record(seen, labels, **place)
        key = (record['connector'], *sorted(place.items()))
        if key not in connected:
            connector, x = self.connectors[record['connector']], read_record(seen, labels, **place)
            regions = (seen.regions,) if isinstance(connector, HybridAssistant) else ()
            connected[key] = connector(x, *regions)
        index = record.get('connector_idx')
        return connected[key] if index is None else connected[key][index]

    def reads_assistant(self, record: Record) -> bool:
        """Return True if a record goes through the assistant."""
        return isinstance(self.connectors[record['connector']], HybridAssistant) if 'connector' in record else False

    @property
    def assistant_record(self) -> Record | None:
        """A record that goes through the assistant, or None."""
        records = (record for mapping in self.mappings.values() for record in mapping.values())
        return next((record for record in records if self.reads_assistant(record)), None)

    def _check(self) -> None:
        key = 'model.distiller.loss_forward_mappings'
        for loss, mapping in self.mappings.items():
            if loss not in self.distill_losses:
                raise ValueError(f'{key}.{loss}: no such loss. Expected one of {", ".join(self.distill_losses)}')
            if not isinstance(mapping, Mapping):
                raise TypeError(f'{key}.{loss}={mapping!r}. Expected a dict of arguments and their records')
            for argument, record in mapping.items():
                self._check_record(f'{key}.{loss}.{argument}', record)
        for loss, module in self.distill_losses.items():
            mapping = self.mappings.get(loss)
            if mapping is None:
                raise ValueError(f'model.distiller.distill_losses.{loss} has no entry in loss_forward_mappings')
            parameters = signature(module.forward).parameters
            for name, parameter in parameters.items():
                needed = parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
                if needed and name not in mapping:
                    raise ValueError(
                        f'{key}.{loss} lacks {name!r}, which {type(module).__name__} needs. Got {", ".join(mapping)}'
                    )
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
                for name in set(mapping) - set(parameters):
                    raise ValueError(
                        f'{key}.{loss} has {name!r}, which is not an argument of {type(module).__name__}. Expected '
                        f'one of {", ".join(parameters)}'
                    )

    def _check_record(self, key: str, record: Any) -> None:
        if not isinstance(record, Mapping) or not isinstance(record.get('from_student'), bool):
            raise TypeError(f'{key}={record!r}. Expected a dict with recorder and from_student (True or False)')
        side = 'student_recorders' if record['from_student'] else 'teacher_recorders'
        known = dict.fromkeys([*self.recorders[record['from_student']], *READINGS, LABELS])
        for name, valid in (('recorder', known), ('connector', self.connectors)):
            if (name == 'recorder' or name in record) and record.get(name) not in valid:
                raise ValueError(
                    f'{key}.{name}={record.get(name)!r}. Expected one of {", ".join(valid) or "none"}'
                    + (f' (of {side})' if name == 'recorder' else '')
                )


def read_record(
    seen: Observation,
    labels: Tensor | None,
    recorder: str,
    from_student: bool,
    record_idx: int = 0,
    data_idx: int | None = None,
) -> Any:
    """Read a record of the config, or the reading of that name from an observation.

    A stage is read as a map. With ``data_idx`` it is one element of the recorded output instead.

    Raises:
        ValueError: If the pass did not call the recorded module often enough.
    """
    if recorder not in seen.records:
        return labels if recorder == LABELS else seen.read(recorder)
    buffer = seen.records[recorder]
    if record_idx >= len(buffer):
        side = 'student' if from_student else 'teacher'
        raise ValueError(
            f'model.distiller.{side}_recorders.{recorder}: this pass of {seen.view.key} called its source '
            f'{len(buffer)} times. Expected at least {record_idx + 1}'
        )
    value = buffer[record_idx] if data_idx is None else buffer[record_idx][data_idx]
    if recorder in STAGES and data_idx is None:
        return seen.view.to_map(value, 1 + STAGES.index(recorder))
    if recorder == 'feature':
        return seen.view.feature_of(value, seen.regions)
    if recorder == 'logits':
        return seen.view.logits_of(value)
    if recorder == 'dense_logits':
        return seen.view.dense_logits_of(value)
    if recorder == LABELS and isinstance(value, Tensor) and value.ndim == 2:
        return value.argmax(dim=1)  # mixed labels: MMRazor's losses take indices
    return value


def _device_of(*observations: Observation) -> str:
    return next(next(seen.view.model.parameters()).device.type for seen in observations)
