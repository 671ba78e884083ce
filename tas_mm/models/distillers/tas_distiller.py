"""TASDistiller: from a pair of networks to recorders, an assistant, losses and their mappings.

MMRazor's recorders only read outputs and its connectors know neither network, so no config alone can build the
assistant. This distiller adds the one step that is missing: when both networks are there it *binds*, that is it takes a
stage view of each, works out the configuration for the pair in MMRazor's own format, and lets the assistant hold the
views.

Source of the three paths and their losses: TAS, arXiv 2410.12342.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from mmengine.model import BaseModel, ModuleDict
from mmengine.registry import DefaultScope
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor, nn

from tas_mm.registry import MODELS, not_registered

from ..connectors import HybridAssistant
from ..connectors.hybrid_assistant import early_role
from ..losses import InfoNCELoss
from ..stages import Knowledge, StagedClassifier, view_of

PATHS = {'ts': ('student', 'teacher'), 'ta': ('assistant', 'teacher'), 'as': ('student', 'assistant')}
"""Name of a path -> who learns from whom. ``ta`` is teacher to assistant."""

ASSISTANT = 'assistant'


@MODELS.register_module()
class TASDistiller(ConfigurableDistiller):
    """The paper's distiller; ``dict(type='tas_mm.TASDistiller')`` is all a config needs.

    Args:
        paths (dict, optional): Weight of each path, ``ts`` (teacher to student), ``ta`` (teacher to assistant), ``as``
            (assistant to student); 0 switches one off, one not named counts 1. Defaults to None.
        feature_loss (dict | None): Loss between pooled features on every path; None for none. Its ``forward`` takes
            learner and target first. Without ``type`` it is :class:`InfoNCELoss`. Defaults to an empty dict.
        logit_loss (dict | None): Loss between logits on every path; None for none. Its ``forward`` takes learner and
            target first, and ``gt_labels`` if it wants the labels. MMRazor's (``KLDivergence``, ``DISTLoss``, ...) fit.
            Without ``type`` it is :class:`OFALoss`. Defaults to an empty dict.
        assistant (dict, optional): Options of :class:`HybridAssistant`. Defaults to None.
        input_size (tuple | int, optional): Height and width of the training images. Defaults to what the networks
            declare, else 224.
        student_recorders, teacher_recorders, connectors, distill_losses, loss_forward_mappings (dict, optional): In
            MMRazor's format; what is given takes the place of what would have been worked out, so extra recorders and
            losses need their mappings too. The recorders ``stage1`` to ``stage4``, ``feature``, ``logits`` and (student
            only) ``gt_labels`` are there without being given. Default to None.
        distill_deliveries (dict, optional): As in MMRazor. Defaults to None.

    Raises:
        ValueError: For an unknown path, and, when both networks are there, for everything that does not fit them.
    """

    def __init__(
        self,
        paths: dict[str, float] | None = None,
        feature_loss: dict | None = dict(),
        logit_loss: dict | None = dict(),
        assistant: dict | None = None,
        input_size: tuple[int, int] | int | None = None,
        student_recorders: dict | None = None,
        teacher_recorders: dict | None = None,
        connectors: dict | None = None,
        distill_losses: dict | None = None,
        loss_forward_mappings: dict | None = None,
        distill_deliveries: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(distill_deliveries=distill_deliveries, init_cfg=init_cfg)
        for name, weight in (paths or {}).items():
            if name not in PATHS:
                raise ValueError(f'model.distiller.paths has {name!r}, but valid are {", ".join(PATHS)}')
            if not isinstance(weight, (int, float)) or weight < 0:
                raise ValueError(f'model.distiller.paths.{name}={weight!r}, but a weight is a number of at least 0')
        self.paths = {name: (paths or {}).get(name, 1.0) for name in PATHS}
        self.feature_loss = None if feature_loss is None else {'type': 'tas_mm.InfoNCELoss', **feature_loss}
        self.logit_loss = None if logit_loss is None else {'type': 'tas_mm.OFALoss', **logit_loss}
        # An assistant given in MMRazor's form has the word on its options.
        self.assistant_cfg = (connectors or {}).get(ASSISTANT, {'type': 'tas_mm.HybridAssistant', **(assistant or {})})
        size = (input_size, input_size) if isinstance(input_size, int) else input_size
        if size is not None and (len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size)):
            raise ValueError(f'model.distiller.input_size={input_size!r}, but it is a number of pixels, or two')
        self.input_size = size
        self._connected: dict[tuple, Any] = {}  # outputs of connectors, within a step
        self.given = dict(
            student_recorders=student_recorders,
            teacher_recorders=teacher_recorders,
            connectors=connectors,
            distill_losses=distill_losses,
            loss_forward_mappings=loss_forward_mappings,
        )

    # ---- binding ---------------------------------------------------------------------------------------------------

    def prepare_from_student(self, model: BaseModel) -> None:
        """First half of MMRazor's preparation: take a view of the student."""
        self.student_view = view_of(model, self.input_size, 'model.architecture')

    def prepare_from_teacher(self, model: nn.Module) -> None:
        """Second half: take a view of the teacher, and bind."""
        self.teacher_view = view_of(model, self.input_size, 'model.teacher')
        if self.input_size is None:
            self._agree_on_size()
        self.bind()

    def bind(self) -> None:
        """Build recorders, connectors and losses for the pair.

        Raises:
            ValueError: If the class counts differ, or a recorder, loss, connector or mapping does not fit the pair.
        """
        student, teacher = self._views
        if student.num_classes != teacher.num_classes:
            raise ValueError(
                f'model.teacher has num_classes={teacher.num_classes} and model.architecture '
                f'num_classes={student.num_classes}; they must agree. Fine-tune the teacher on the data set of the '
                'student first, or set head.num_classes'
            )
        if student.in_channels != teacher.in_channels:
            raise ValueError(
                f'model.teacher takes images of {teacher.in_channels} channels and model.architecture of '
                f'{student.in_channels}; both see the same images. Set in_channels, or load grey images as colour'
            )
        self.config = self._expand()
        with DefaultScope.overwrite_default_scope('mmrazor'):
            self.student_recorders = self._build_recorders('student_recorders', student)
            self.teacher_recorders = self._build_recorders('teacher_recorders', teacher)
            # MMEngine's ModuleDict, unlike torch's, passes init_weights() on.
            self.connectors = ModuleDict(self._build_each('connectors', self.build_connectors))
            self.distill_losses = ModuleDict(self._build_each('distill_losses', self.build_distill_losses))
        for module in self.connectors.modules():
            if isinstance(module, HybridAssistant):
                module.bind(student, teacher)
        self.loss_forward_mappings = self.config['loss_forward_mappings']
        self._check_mappings()
        if self.assistant is not None and not self._assistant_learns():
            # No path trains it (the paper's ablation C): parameters without a gradient would stop DDP.
            self.assistant.requires_grad_(False)

    @property
    def assistant(self) -> HybridAssistant | None:
        """The assistant, or None where no loss reads one."""
        record = self._assistant_record
        return None if record is None else self.connectors[record['connector']]

    @property
    def _assistant_record(self) -> Mapping | None:
        """One of the mappings' records that read the assistant."""
        records = (record for mapping in self.loss_forward_mappings.values() for record in mapping.values())
        return next((record for record in records if self._reads_assistant(record)), None)

    def _reads_assistant(self, record: Mapping) -> bool:
        return 'connector' in record and isinstance(self.connectors[record['connector']], HybridAssistant)

    def _agree_on_size(self) -> None:
        """Look at both networks at the size that either declares; two different ones are refused."""
        declared = {view.key: tuple(view.declared_size()) for view in self._views if view.declared_size()}
        if len(set(declared.values())) > 1:
            raise ValueError(
                'teacher and student are built for different image sizes ('
                + ', '.join(f'{key}.backbone: {size}' for key, size in declared.items())
                + '): give both the same img_size, or say which size the train pipeline gives with '
                'model.distiller.input_size=(height, width)'
            )
        for view in self._views:
            view.input_size = next(iter(declared.values()), view.input_size)

    @property
    def _views(self) -> tuple[StagedClassifier, StagedClassifier]:
        return self.student_view, self.teacher_view

    def _expand(self) -> dict[str, dict]:
        """The full configuration in MMRazor's format: what was given, and the paper's for the rest."""
        student, teacher = self._views
        _class_of(self.assistant_cfg, 'model.distiller.connectors.assistant')
        assistant = RAZOR_MODELS.build(self.assistant_cfg)
        early_is_student = (assistant.early_role or early_role(student, teacher)) == 'student'
        late = teacher if early_is_student else student
        from_assistant = dict(recorder=assistant.recorder, from_student=early_is_student, connector=ASSISTANT)
        where = {  # role -> where its feature and logits come from
            'student': (
                dict(recorder='feature', from_student=True, data_idx=0),
                dict(recorder='logits', from_student=True),
            ),
            'teacher': (
                dict(recorder='feature', from_student=False, data_idx=0),
                dict(recorder='logits', from_student=False),
            ),
            'assistant': (dict(from_assistant, connector_idx=0), dict(from_assistant, connector_idx=1)),
        }
        widths = dict(student=student.feature_dim, teacher=teacher.feature_dim, assistant=late.feature_dim)
        losses, mappings = {}, {}
        for path, (learner, target) in PATHS.items():
            if not self.paths[path]:
                continue
            for name, cfg, index in (('nce', self.feature_loss, 0), ('kd', self.logit_loss, 1)):
                if cfg is None:
                    continue
                cls = _class_of(cfg, f'model.distiller.{"feature" if index == 0 else "logit"}_loss')
                cfg = dict(cfg, loss_weight=cfg.get('loss_weight', 1.0) * self.paths[path])
                if issubclass(cls, InfoNCELoss):
                    cfg.update(learner_dim=widths[learner], target_dim=widths[target])
                losses[f'loss_{path}_{name}'] = cfg
                mappings[f'loss_{path}_{name}'] = self._map(cls, where[learner][index], where[target][index])
        mappings = self.given['loss_forward_mappings'] or mappings
        read = [record for mapping in mappings.values() for record in mapping.values()]
        used = lambda side: {r.get('recorder') for r in read if r.get('from_student') is side}  # noqa: E731
        connectors = {ASSISTANT: self.assistant_cfg} if any(r.get('connector') == ASSISTANT for r in read) else {}
        worked_out = dict(
            student_recorders={k: v for k, v in student.recorders.items() if k in used(True)},
            teacher_recorders={k: v for k, v in teacher.recorders.items() if k in used(False)},
            connectors=connectors,
            distill_losses=losses,
            loss_forward_mappings=mappings,
        )
        return {name: self.given[name] or worked_out[name] for name in worked_out}

    @staticmethod
    def _map(loss: type[nn.Module], learner: dict, target: dict) -> dict[str, dict]:
        """Map a loss's first two arguments to learner and target, and ``gt_labels`` to the student's labels."""
        names = [name for name in signature(loss.forward).parameters if name != 'self']
        mapping = {names[0]: learner, names[1]: target}
        if 'gt_labels' in names:
            mapping['gt_labels'] = dict(recorder='gt_labels', from_student=True, data_idx=1)
        return mapping

    def _build_recorders(self, field: str, view: StagedClassifier) -> RecorderManager:
        modules = dict(view.model.named_modules())
        for name, cfg in self.config[field].items():
            if cfg['type'].startswith('Module') and cfg['source'] not in modules:
                near = get_close_matches(cfg['source'], modules, n=3, cutoff=0.4)
                raise ValueError(
                    f'model.distiller.{field}.{name}.source={cfg["source"]!r} is no module of {view.key}; '
                    f'nearest: {", ".join(near) or "none"}'
                )
        manager = RecorderManager(self.config[field])
        manager.initialize(view.model)
        return manager

    def _build_each(self, field: str, build: Callable[[dict], nn.ModuleDict]) -> dict[str, nn.Module]:
        """Build connectors or losses one by one, so that an error can say which."""
        built: dict[str, nn.Module] = {}
        for name, cfg in self.config[field].items():
            key = f'model.distiller.{field}.{name}'
            for part in cfg if isinstance(cfg, list) else [cfg]:
                _class_of(part, key)
            try:
                built.update(build({name: cfg}))
            except (TypeError, ValueError, AssertionError) as error:
                raise ValueError(f'{key}: {error}') from error
        return built

    def _check_mappings(self) -> None:
        """MMRazor's own check of the mappings, with an error that says where and what would be valid."""
        for loss, mapping in self.loss_forward_mappings.items():
            if loss not in self.distill_losses:
                raise ValueError(
                    f'model.distiller.loss_forward_mappings.{loss} maps no loss; distill_losses has '
                    f'{", ".join(self.distill_losses)}'
                )
            for argument, record in mapping.items():
                key = f'model.distiller.loss_forward_mappings.{loss}.{argument}'
                side = 'student_recorders' if record.get('from_student') else 'teacher_recorders'
                for name, valid in (('recorder', getattr(self, side).recorders), ('connector', self.connectors)):
                    if name in record and record[name] not in valid:
                        raise ValueError(
                            f'{key}.{name}={record[name]!r}, but valid are {", ".join(valid) or "none"}'
                            + (f' (of {side})' if name == 'recorder' else '')
                        )
        for loss, module in self.distill_losses.items():
            mapping = self.loss_forward_mappings.get(loss)
            if mapping is None:
                raise ValueError(f'model.distiller.distill_losses.{loss} has no entry in loss_forward_mappings')
            for name, parameter in signature(module.forward).parameters.items():
                needed = parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
                if needed and name not in mapping:
                    raise ValueError(
                        f'model.distiller.loss_forward_mappings.{loss} lacks {name!r}, which '
                        f'{type(module).__name__} needs; it has {", ".join(mapping)}'
                    )
        self._check_loss_forward_mappings(
            self.distill_losses, self.loss_forward_mappings, self.student_recorders, self.teacher_recorders
        )

    def _assistant_learns(self) -> bool:
        """Whether any loss has the assistant as its learner, or as a target that keeps its gradient."""
        for name, mapping in self.loss_forward_mappings.items():
            loss = self.distill_losses[name]
            keeps = not getattr(loss, 'detach_target', getattr(loss, 'teacher_detach', True))
            for i, record in enumerate(mapping.values()):
                if self._reads_assistant(record) and (i == 0 or keeps):
                    return True
        return False

    # ---- a step ----------------------------------------------------------------------------------------------------

    def compute_distill_losses(self) -> LossResults:
        """All distillation losses of the step. Each connector runs once, however many losses read it."""
        try:
            return super().compute_distill_losses()
        finally:
            self._connected = {}

    def get_record(
        self,
        recorder: str,
        from_student: bool,
        record_idx: int = 0,
        data_idx: int | None = None,
        connector: str | None = None,
        connector_idx: int | None = None,
    ) -> Any:
        """A record as MMRazor gives it, the connector's output being kept for the other losses of the step."""
        if connector is None:
            record = super().get_record(recorder, from_student, record_idx, data_idx)
            if recorder == 'feature' and isinstance(record, Tensor) and record.ndim == 4 and record.shape[2:] == (1, 1):
                return record.flatten(1)  # read by a classifier that is a 1x1 convolution
            if recorder == 'gt_labels' and isinstance(record, Tensor) and record.ndim == 2:
                return record.argmax(dim=1)  # mixed labels: MMRazor's losses take indices, and OFA wants the largest
            return record
        call = (connector, recorder, from_student, record_idx, data_idx)
        if call not in self._connected:
            self._connected[call] = super().get_record(recorder, from_student, record_idx, data_idx, connector)
        output = self._connected[call]
        return output if connector_idx is None else output[connector_idx]

    def run_assistant(self) -> Knowledge:
        """The assistant's knowledge of what the recorders hold; for validation."""
        try:
            return self.get_record(**dict(self._assistant_record, connector_idx=None))
        finally:
            self._connected = {}


def _class_of(cfg: Mapping, key: str) -> type[nn.Module]:
    """The class that a config names, as MMRazor's scope sees it."""
    if not isinstance(cfg['type'], str):
        return cfg['type']
    with DefaultScope.overwrite_default_scope('mmrazor'):
        cls = RAZOR_MODELS.get(cfg['type'])
    if cls is None:
        raise ValueError(f'{key}.type={not_registered(cfg["type"])}')
    return cls
