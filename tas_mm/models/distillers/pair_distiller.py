"""PairDistiller: from a pair of networks and named losses to MMRazor's recorders, connectors, losses and mappings.

MMRazor's recorders name modules and its losses and connectors are told widths, so a config of its own fits one pair of
networks. Here a loss says only what it *reads* of both: logits, the pooled feature, or the map of a stage. When both
networks are there the distiller *binds*: it takes a stage view of each and works out the rest, in MMRazor's own format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from itertools import chain
from typing import Any

import torch
from mmengine.model import BaseModel, ModuleDict
from mmengine.registry import DefaultScope
from mmengine.utils.misc import apply_to
from mmpretrain.models.heads import MultiLabelClsHead
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor, nn

from tas_mm.registry import MODELS, not_registered, refuse_unknown

from ..stages import READINGS, STAGES, StagedClassifier, view_of

Configs = dict[str, dict]


@MODELS.register_module()
class PairDistiller(ConfigurableDistiller):
    """Losses from teacher to student, each by a name and what it reads of the two networks.

    A term is the config of a loss, MMRazor's (``KLDivergence``, ``DISTLoss``, ...) or tas_mm's, and besides

    - ``reads``: ``'logits'`` (the default), ``'feature'`` or ``'stage1'`` to ``'stage4'``; or different ones, as
      ``dict(student='stage1', teacher='logits')``. Logits are ``(B, num_classes)``, the feature is that after pooling,
      ``(B, C)``, and a stage is a map ``(B, C, H, W)`` whatever the network.
    - ``connector``: config of a connector that the student's side goes through first, such as a projector.

    The loss ``loss_<name>`` gets the student's side as its first argument, the teacher's as its second, and the labels
    if it has an argument ``gt_labels``. What a loss or a connector asks for by the name of an argument, and the config
    does not give, is filled in:

    - ``learner_dim``, ``target_dim``: width of the student's side (after a connector, which is taken to give the
      teacher's width) and of the teacher's;
    - ``in_channels``, ``out_channels``, ``in_grid``, ``out_grid``: width and, of stages, height and width of the
      student's side and of the teacher's;
    - ``num_classes``; ``feature_dims``: widths of both features; ``family`` of the student ('cnn', 'attention', 'mlp')
      and ``stage``, the number of the one that is read; ``any_size``, True, where images are of many sizes.

    A loss that reads more than one thing of a network says so itself: its class has ``records``, a mapping of its
    arguments in MMRazor's format, and its term no ``reads``. Losses and connectors with a method
    ``bind(student, teacher)`` are given the two stage views, to build what depends on them (``PATLoss``).

    Args:
        terms (dict, optional): Terms by name; None in place of one drops it. Defaults to None.
        input_size (tuple | int, optional): Height and width of the training images. Defaults to what the networks
            declare, else 224.
        student_recorders, teacher_recorders, connectors, distill_losses, loss_forward_mappings (dict, optional): In
            MMRazor's format; what is given takes the place of what would have been worked out, so extra recorders and
            losses need their mappings too. The recorders ``stage1`` to ``stage4``, ``feature``, ``logits`` and (student
            only) ``gt_labels`` are there without being given; a record of a stage is read as a map, unless the mapping
            takes a part of it with ``data_idx``. Default to None.
        distill_deliveries (dict, optional): As in MMRazor. Defaults to None.

    Raises:
        ValueError: For a term that is none, and, when both networks are there, for everything that does not fit them.
    """

    def __init__(
        self,
        terms: Mapping[str, dict | None] | None = None,
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
        self.terms = {name: _checked(name, term) for name, term in (terms or {}).items() if term is not None}
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
        student, teacher = self.views
        if student.num_classes != teacher.num_classes:
            raise ValueError(
                f'model.teacher has num_classes={teacher.num_classes} and model.architecture '
                f'num_classes={student.num_classes}; they must agree. Fine-tune the teacher on the data set of the '
                'student first, or set head.num_classes'
            )
        for view in self.views:
            head = getattr(view.model, 'head', None)
            if isinstance(head, MultiLabelClsHead):
                raise ValueError(
                    f'{view.key}.head is a {type(head).__name__}, which scores every class by itself, but losses and '
                    'validation here take logits for those of one distribution over the classes; valid is a head for '
                    'one label, such as LinearClsHead'
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
        self.loss_forward_mappings = self.config['loss_forward_mappings']
        for module in chain(self.connectors.modules(), self.distill_losses.modules()):
            if hasattr(module, 'bind'):
                module.bind(*self.views)
        self._check_mappings()

    def _agree_on_size(self) -> None:
        """Look at both networks at the size that either declares; two different ones are refused."""
        declared = {view.key: tuple(view.declared_size()) for view in self.views if view.declared_size()}
        if len(set(declared.values())) > 1:
            raise ValueError(
                'teacher and student are built for different image sizes ('
                + ', '.join(f'{key}.backbone: {size}' for key, size in declared.items())
                + '): give both the same img_size, or say which size the train pipeline gives with '
                'model.distiller.input_size=(height, width)'
            )
        for view in self.views:
            view.input_size = next(iter(declared.values()), view.input_size)

    @property
    def views(self) -> tuple[StagedClassifier, StagedClassifier]:
        """Stage views of student and teacher."""
        return self.student_view, self.teacher_view

    def _expand(self) -> dict[str, dict]:
        """The full configuration in MMRazor's format: what was given, and what was worked out for the rest."""
        student, teacher = self.views
        connectors, losses, mappings = self._work_out()
        mappings = self.given['loss_forward_mappings'] or mappings
        read = [record for mapping in mappings.values() for record in mapping.values()]
        used = lambda side: {r.get('recorder') for r in read if r.get('from_student') is side}  # noqa: E731
        passed = {record.get('connector') for record in read}
        worked_out = dict(
            student_recorders={k: v for k, v in student.recorders.items() if k in used(True)},
            teacher_recorders={k: v for k, v in teacher.recorders.items() if k in used(False)},
            connectors={k: v for k, v in connectors.items() if k in passed},
            distill_losses=losses,
            loss_forward_mappings=mappings,
        )
        return {name: self.given[name] or worked_out[name] for name in worked_out}

    def _work_out(self) -> tuple[Configs, Configs, Configs]:
        """Connectors, losses and their mappings, of the terms."""
        connectors, losses, mappings = {}, {}, {}
        for name, term in self.terms.items():
            key, cfg = f'model.distiller.terms.{name}', dict(term)
            reads, connector = cfg.pop('reads'), cfg.pop('connector')
            cls = class_of(cfg, key)
            own = getattr(cls, 'records', None)
            if own and (connector is not None or {*reads.values()} != {'logits'}):
                raise ValueError(f'{key}: {cls.__name__} says itself what it reads; leave out reads and connector')
            facts = {} if own else self._facts(**reads)
            learner, target = (record_of(reads[side], side == 'student') for side in ('student', 'teacher'))
            if connector is not None:
                connectors[f'{name}_student'] = fill_in(connector, facts, f'{key}.connector')
                learner['connector'] = f'{name}_student'
                facts['learner_dim'] = facts['target_dim']
            losses[f'loss_{name}'] = fill_in(cfg, facts, key)
            mappings[f'loss_{name}'] = own or map_arguments(cls, learner, target)
        return connectors, losses, mappings

    def _facts(self, student: str, teacher: str) -> dict[str, Any]:
        """What losses and connectors between two readings may ask for; None what such readings do not have."""
        views = self.views
        (in_channels, *in_grid), (out_channels, *out_grid) = (v.shape(r) for v, r in zip(views, (student, teacher)))
        return dict(
            learner_dim=in_channels,
            target_dim=out_channels,
            in_channels=in_channels,
            out_channels=out_channels,
            in_grid=tuple(in_grid) or None,
            out_grid=tuple(out_grid) or None,
            num_classes=views[0].num_classes,
            feature_dims=tuple(view.feature_dim for view in views),
            family=views[0].family,
            stage=1 + STAGES.index(student) if student in STAGES else None,
            any_size=views[1].any_size or None,
        )

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
                class_of(part, key)
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

    # ---- a step ----------------------------------------------------------------------------------------------------

    def compute_distill_losses(self) -> LossResults:
        """All distillation losses of the step, in float32 under any autocast: MMRazor's own would take half precision.

        Each connector runs once, as autocast has it, however many losses read it. A loss with ``keeps_autocast``, which
        runs networks of its own, takes care of its precision itself.
        """
        device = next(self.teacher_view.model.parameters()).device.type
        losses = {}
        try:
            for name, mapping in self.loss_forward_mappings.items():
                loss = self.distill_losses[name]
                records = {argument: self.get_record(**record) for argument, record in mapping.items()}
                if getattr(loss, 'keeps_autocast', False):
                    losses[name] = loss(**records)
                    continue
                with torch.autocast(device, enabled=False):
                    losses[name] = loss(**apply_to(records, _is_half, Tensor.float))
        finally:
            self._connected = {}
        return losses

    def get_record(
        self,
        recorder: str,
        from_student: bool,
        record_idx: int = 0,
        data_idx: int | None = None,
        connector: str | None = None,
        connector_idx: int | None = None,
    ) -> Any:
        """A record as the network's view reads it; a connector's output is kept for the other losses of the step."""
        if connector is None:
            side, view = ('student', self.student_view) if from_student else ('teacher', self.teacher_view)
            try:
                record = super().get_record(recorder, from_student, record_idx, data_idx)
            except AssertionError as error:
                module = getattr(getattr(self, f'{side}_recorders').recorders[recorder], 'source', recorder)
                raise ValueError(
                    f'model.distiller.{side}_recorders.{recorder}: in this pass {view.key} did not call its {module}, '
                    'or gave what is to be read by keyword. A head must call its classifier, itself and its '
                    'loss_module(scores, labels) when it trains, as LinearClsHead does'
                ) from error
            if recorder in STAGES and data_idx is not None:
                return record  # a part of what the stage gives, which only who asks for it knows
            return view.read(recorder, record)
        call = (connector, recorder, from_student, record_idx, data_idx)
        if call not in self._connected:
            record = self.get_record(recorder, from_student, record_idx, data_idx)
            self._connected[call] = self.connectors[connector](record)
        output = self._connected[call]
        return output if connector_idx is None else output[connector_idx]


def record_of(reading: str, from_student: bool) -> dict[str, Any]:
    """MMRazor's description of a record that a stage view names."""
    record = dict(recorder=reading, from_student=from_student)
    return dict(record, data_idx=0) if reading == 'feature' else record


def map_arguments(loss: type[nn.Module], learner: dict, target: dict) -> dict[str, dict]:
    """Map a loss's first two arguments to learner and target, and ``gt_labels`` to the student's labels."""
    names = [name for name in signature(loss.forward).parameters if name != 'self']
    mapping = {names[0]: learner, names[1]: target}
    if 'gt_labels' in names:
        mapping['gt_labels'] = dict(recorder='gt_labels', from_student=True, data_idx=1)
    return mapping


def class_of(cfg: Mapping, key: str) -> type[nn.Module]:
    """The class that a config names, as MMRazor's scope sees it.

    Raises:
        ValueError: If there is none of that name.
    """
    if not isinstance(cfg['type'], str):
        return cfg['type']
    with DefaultScope.overwrite_default_scope('mmrazor'):
        cls = RAZOR_MODELS.get(cfg['type'])
    if cls is None:
        raise ValueError(f'{key}.type={not_registered(cfg["type"])}')
    return cls


def fill_in(cfg: Mapping, facts: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A config, and the facts that its class has as arguments and it does not give.

    Raises:
        ValueError: If the class has no default for one that is None, or does not take what the config gives.
    """
    cls = class_of(cfg, key)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature(cls).parameters.values()):
        refuse_unknown(key, cfg, cls)
    asked = {name: arg for name, arg in signature(cls).parameters.items() if name in facts and name not in cfg}
    for name, argument in asked.items():
        if facts[name] is None and argument.default is argument.empty:
            raise ValueError(
                f'{key}: {cls.__name__} needs {name}, which only a stage has: let it read one of {", ".join(STAGES)}, '
                f'or set {name}'
            )
    return dict(cfg, **{name: facts[name] for name in asked if facts[name] is not None})


def _is_half(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.itemsize < 4


def _checked(name: str, term: Any) -> dict[str, Any]:
    """A term with what it reads of either side, and its connector or None."""
    key = f'model.distiller.terms.{name}'
    cfg = dict(term) if isinstance(term, Mapping) else {}
    connector, reads = cfg.get('connector'), cfg.get('reads', 'logits')
    if 'type' not in cfg:
        raise ValueError(f'{key}={term!r}, but it must be the config of a loss, with its type')
    if connector is not None and 'type' not in connector:
        raise ValueError(f'{key}.connector={connector!r}, but it must be the config of a connector, with its type')
    reads = dict(student='logits', teacher='logits') | (
        dict(reads) if isinstance(reads, Mapping) else dict(student=reads, teacher=reads)
    )
    if len(reads) > 2 or not set(reads.values()) <= set(READINGS):
        raise ValueError(
            f'{key}.reads={cfg["reads"]!r}, but valid are {", ".join(READINGS)}, or dict(student=..., teacher=...) of '
            'these'
        )
    return dict(cfg, reads=reads, connector=connector)
