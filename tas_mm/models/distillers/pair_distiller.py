"""PairDistiller: named losses between what two networks know.

MMRazor's recorders name modules, and its losses and connectors are given widths. So one of its configs fits only one
pair of networks. Here a loss only says what it *reads* of each network: logits, the pooled feature, or the map of a
stage. Once both networks are known, the distiller *binds*: it takes a stage view of each and infers the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch
from mmengine.model import BaseModel, ModuleDict
from mmengine.registry import DefaultScope
from mmrazor.models.distillers import ConfigurableDistiller
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..knowledge import Observation
from ..stages import LEVELS, STAGES, Observer, StageView
from .inference import (
    check_classes,
    check_dense,
    check_levels,
    check_pair,
    checked_term,
    class_of,
    compares_classes,
    detaches_target,
    fill_in,
    infer_arguments,
    precision_of,
    wants_labels,
)
from .interface import Distiller
from .razor_form import (
    FIELDS,
    RazorForm,
    RecordingObserver,
    build_recorders,
    map_arguments,
    record_of,
    recorders_of,
)
from .sides import Sides

Configs = dict[str, dict]
ROLES = ('student', 'teacher')


@MODELS.register_module()
class PairDistiller(Distiller, ConfigurableDistiller):
    """Named losses from teacher to student. Each says what it reads of the two networks.

    A *term* is the config of a loss, MMRazor's (``KLDivergence``, ``DISTLoss``, ...) or tas_mm's, with two more
    options:

    - ``reads``: ``'logits'`` (the default of most losses), ``'feature'``, or ``'stage1'`` to ``'stage4'``. For
      different readings of the two sides: ``dict(student='stage1', teacher='logits')``. Logits are ``(B,
      num_classes)``, the feature after pooling is ``(B, C)``, and a stage is a map ``(B, C, H, W)`` for every network.
      Detectors have more: the neck's outputs are the maps ``'level1'`` to ``'level5'``, and one-stage heads give
      ``'dense_logits'``. A loss that compares more takes several: ``dict(student=('stage3', 'stage4'),
      teacher='stage4')``. A loss class
      sets its default in its attribute ``reads``.
    - ``connector``: config of a connector, such as a projector, through which the student's side goes first.

    The loss ``loss_<name>`` gets the student's side as its first argument, the teacher's side as its second, and the
    labels if it has an argument ``gt_labels``. It runs in float32, unless its class attribute ``keeps_autocast`` is
    True. Arguments of losses and connectors that the config does not set are inferred by their names (from the last of
    several readings):

    - ``learner_dim``, ``target_dim``: widths of the student's and the teacher's side. After a connector both are the
      teacher's width.
    - ``in_channels``, ``out_channels``, ``in_grid``, ``out_grid``: width and, for stages, height and width of the
      student's and the teacher's side.
    - ``num_classes``; ``feature_dims``: widths of both features; ``family`` of the student (``'cnn'``, ``'attention'``,
      ``'mlp'``); ``stage``: number of the student's stage; ``any_size``: True for images of many sizes.

    Losses and connectors with a method ``bind(student, teacher)`` receive the two stage views, and can build parts that
    depend on them. A method that needs more of the networks subclasses the distiller and overrides :meth:`forward`,
    :meth:`student_stages` and :meth:`teacher_stages`.

    Args:
        terms (dict, optional): Terms by name. None as a value removes an inherited term. Defaults to None.
        input_size, teacher_size (tuple | int, optional): See :class:`Sides`.
        student_feature, teacher_feature (str, optional): See :class:`Sides`.
        teacher_classes (sequence | str, optional): See :class:`Sides`.
        student_recorders, teacher_recorders, connectors, distill_losses, loss_forward_mappings (dict, optional): In
            MMRazor's format. Each one replaces what would have been inferred. Mappings may name readings and
            ``gt_labels`` without a recorder. A stage is read as a map, unless the mapping selects a part of it with
            ``data_idx``. Default to None.
        distill_deliveries (dict, optional): As in MMRazor. Defaults to None.

    Raises:
        ValueError: If a term is not a loss config. At binding, if a recorder, loss, connector or mapping does not match
            the two networks.

    Examples:
        >>> import torch
        >>> from tas_mm.models import PairDistiller
        >>> from tas_mm.recipes.sources import build_classifier
        >>> student, teacher = build_classifier('timm:resnet18'), build_classifier('timm:vit_tiny_patch16_224')
        >>> distiller = PairDistiller(terms=dict(kd=dict(type='KLDivergence', tau=4)))
        >>> distiller.prepare(student, teacher.eval())
        >>> images, labels = torch.zeros(2, 3, 224, 224), torch.tensor([1, 2])
        >>> taught, _ = distiller.teacher_observer(teacher, images, mode='tensor')
        >>> learned, logits = distiller.student_observer(student, images, mode='tensor')
        >>> list(distiller(learned, taught, labels))
        ['loss_kd']
    """

    def __init__(
        self,
        terms: Mapping[str, dict | None] | None = None,
        input_size: tuple[int, int] | int | None = None,
        teacher_size: tuple[int, int] | int | None = None,
        student_feature: str | None = None,
        teacher_feature: str | None = None,
        teacher_classes: Sequence[int] | str | None = None,
        student_recorders: dict | None = None,
        teacher_recorders: dict | None = None,
        connectors: dict | None = None,
        distill_losses: dict | None = None,
        loss_forward_mappings: dict | None = None,
        distill_deliveries: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(distill_deliveries=distill_deliveries, init_cfg=init_cfg)
        self.terms = {name: checked_term(name, term) for name, term in (terms or {}).items() if term is not None}
        self.sides = Sides(input_size, teacher_size, student_feature, teacher_feature, teacher_classes)
        fields = student_recorders, teacher_recorders, connectors, distill_losses, loss_forward_mappings
        for name, value in zip(FIELDS, fields):
            if value is not None and not isinstance(value, Mapping):
                raise ValueError(f'model.distiller.{name}={value!r}. Expected a dict, by name')
        self.user_config = {name: value for name, value in zip(FIELDS, fields) if value}
        self.razor_form: RazorForm | None = None

    # ---- a step ----------------------------------------------------------------------------------------------------

    def forward(self, student: Observation, teacher: Observation, labels: Tensor | None) -> dict[str, Tensor]:
        """Compute the losses of a batch; see :class:`Distiller`."""
        if self.razor_form is not None:
            return self.razor_form.losses(student, teacher, labels)
        losses = {}
        for name, term in self.terms.items():
            learners = [student.read(reading) for reading in term['reads']['student']]
            targets = [teacher.read(reading) for reading in term['reads']['teacher']]
            if term['connector'] is not None:
                learners = [self.connectors[f'{name}_student'](*learners)]
            losses[f'loss_{name}'] = self.compare_all(f'loss_{name}', learners, targets, labels)
        return losses

    def compare(self, name: str, learner: Tensor, target: Tensor, labels: Tensor | None) -> Tensor:
        """Compute one loss in float32, whatever the autocast. Detach the target unless the loss does that itself."""
        if self._detaches[name]:
            target = target.detach()
        arguments = dict(gt_labels=labels) if self._wants_labels[name] else {}
        exact = torch.promote_types(learner.dtype, torch.float32)  # float64 stays
        with torch.autocast(learner.device.type, enabled=False):
            return self.distill_losses[name](learner.to(exact), target.to(exact), **arguments)

    def compare_all(
        self, name: str, learners: Sequence[Tensor], targets: Sequence[Tensor], labels: Tensor | None
    ) -> Tensor:
        """Compute the loss of a term between one or several readings of each side; see :meth:`compare`."""
        loss = self.distill_losses[name]
        if self._detaches[name]:
            targets = [target.detach() for target in targets]
        arguments = dict(gt_labels=labels) if self._wants_labels[name] else {}
        exact = torch.promote_types(learners[0].dtype, torch.float32)
        with precision_of(loss, learners[0].device.type):
            return loss(*(x.to(exact) for x in (*learners, *targets)), **arguments)

    # ---- binding ---------------------------------------------------------------------------------------------------

    def prepare(self, student: nn.Module, teacher: nn.Module) -> None:
        """Bind the distiller to two networks, for your own training loop.

        Args:
            student (nn.Module): The student.
            teacher (nn.Module): The teacher. The caller keeps it frozen and in eval mode.
        """
        self.prepare_from_student(student)
        self.prepare_from_teacher(teacher)

    def prepare_from_student(self, model: BaseModel) -> None:
        """Take a view of the student: the first half of MMRazor's two-step preparation."""
        self.student_view = self.sides.view_student(model, self.sides.input_size)

    def prepare_from_teacher(self, model: nn.Module) -> None:
        """Take a view of the teacher and bind: the second half of MMRazor's two-step preparation."""
        self.student_view, self.teacher_view = self.sides.agree(self.student_view, self.sides.view_teacher(model))
        self.bind()

    def bind(self) -> None:
        """Build connectors, losses and observers for the pair.

        Raises:
            ValueError: If class counts differ, or a recorder, loss, connector or mapping does not match the pair.
        """
        check_pair(*self.views)
        self.config = self._expand()
        with DefaultScope.overwrite_default_scope('mmrazor'):
            # Unlike torch's, MMEngine's ModuleDict forwards init_weights().
            self.connectors = ModuleDict(self._build_each('connectors', self.build_connectors))
            self.distill_losses = ModuleDict(self._build_each('distill_losses', self.build_distill_losses))
        for module in chain(self.connectors.modules(), self.distill_losses.modules()):
            if hasattr(module, 'bind'):
                module.bind(*self.views)
        self._wants_labels = {name: wants_labels(loss) for name, loss in self.distill_losses.items()}
        self._detaches = {name: detaches_target(loss) is None for name, loss in self.distill_losses.items()}
        self._watch()

    @property
    def views(self) -> tuple[StageView, StageView]:  # type: ignore[override]
        """Stage views of student and teacher."""
        return self.student_view, self.teacher_view

    # ---- readings --------------------------------------------------------------------------------------------------

    @property
    def student_reads(self) -> frozenset[str]:  # type: ignore[override]
        """Readings of the student that the losses use."""
        return self._reads(True) | {STAGES[stage - 1] for stage in self.student_stages()}

    @property
    def teacher_reads(self) -> frozenset[str]:  # type: ignore[override]
        """Readings of the teacher that the losses use."""
        return self._reads(False) | {STAGES[stage - 1] for stage in self.teacher_stages()}

    @property
    def uses_recorders(self) -> bool:  # type: ignore[override]
        """True if the config has recorders, whose records in-place modules would overwrite."""
        return bool({f'{side}_recorders' for side in ROLES} & {*self.user_config})

    def student_stages(self) -> set[int]:
        """Return the numbers of the student's stages that :meth:`forward` needs."""
        return {1 + STAGES.index(reading) for reading in self._reads(True) & {*STAGES}}

    def teacher_stages(self) -> set[int]:
        """Return the numbers of the teacher's stages that :meth:`forward` needs."""
        return {1 + STAGES.index(reading) for reading in self._reads(False) & {*STAGES}}

    def _reads(self, from_student: bool) -> frozenset[str]:
        mappings = self.config['loss_forward_mappings'].values()
        records = (record for mapping in mappings for record in mapping.values() if isinstance(record, Mapping))
        return frozenset(r['recorder'] for r in records if r.get('from_student') is from_student and 'recorder' in r)

    def _watch(self) -> None:
        """Put an observer on each network. If the config is in MMRazor's form, it also runs the config's recorders."""
        self.student_observer = self._observer('student', self.student_view, self.student_stages(), self.student_reads)
        self.teacher_observer = self._observer('teacher', self.teacher_view, self.teacher_stages(), self.teacher_reads)
        if self.user_config:
            given = {side == 'student': [*self.user_config.get(f'{side}_recorders', {})] for side in ROLES}
            mappings = self.config['loss_forward_mappings']
            self.razor_form = RazorForm(mappings, self.distill_losses, self.connectors, given)

    def _observer(self, side: str, view: StageView, stages: set[int], reads: frozenset[str]) -> Observer:
        given = self.user_config.get(f'{side}_recorders', {})
        captured = sorted(stage for stage in stages if STAGES[stage - 1] not in given)
        knowledge = {'logits'} | ({'feature', 'dense_logits'} & reads) - {*given}
        knowledge |= {'pyramid'} if ({*LEVELS} & reads) - {*given} else set()
        if not self.user_config and not self.deliveries.deliveries:
            return Observer(view, captured, knowledge)
        recorders = build_recorders(given, view, f'{side}_recorders')
        return RecordingObserver(view, captured, knowledge, recorders, self.deliveries, override=side == 'student')

    # ---- inference -------------------------------------------------------------------------------------------------

    def razor_config(self) -> dict[str, dict]:
        """Return the whole distiller in MMRazor's form, which a config may contain instead."""
        return self.config

    def _expand(self) -> dict[str, dict]:
        """Expand to MMRazor's form: the user's config, completed with inferred parts."""
        connectors, losses, mappings = self._infer()
        known = self.user_config.get('distill_losses', losses)
        mappings = {name: mapping for name, mapping in mappings.items() if name in known}
        mappings = self.user_config.get('loss_forward_mappings', mappings)
        read = [r for mapping in mappings.values() if isinstance(mapping, Mapping) for r in mapping.values()]
        read = [record for record in read if isinstance(record, Mapping)]
        used = lambda side: {r.get('recorder') for r in read if r.get('from_student') is side}  # noqa: E731
        passed = {record.get('connector') for record in read}
        inferred = dict(
            student_recorders=recorders_of(self.student_view, used(True)),
            teacher_recorders=recorders_of(self.teacher_view, used(False)),
            connectors={name: cfg for name, cfg in connectors.items() if name in passed},
            distill_losses=losses,
            loss_forward_mappings=mappings,
        )
        return inferred | self.user_config

    def _infer(self) -> tuple[Configs, Configs, Configs]:
        """Infer connectors, losses and mappings from the terms."""
        connectors, losses, mappings = {}, {}, {}
        for name, term in self.terms.items():
            key, cfg = f'model.distiller.terms.{name}', dict(term)
            reads, connector = cfg.pop('reads'), cfg.pop('connector')
            cls = class_of(cfg, key)
            if compares_classes(reads, connector):
                check_classes(*self.views)
            if 'dense_logits' in reads['student'] + reads['teacher']:
                check_dense(*self.views)
            if connector is None:
                check_levels(name, cls, dict(zip(ROLES, self.views)), reads)
            inferred = infer_arguments(self.views, **{side: readings[-1] for side, readings in reads.items()})
            learners, targets = (
                [record_of(reading, view, side == 'student') for reading in reads[side]]
                for side, view in zip(ROLES, self.views)
            )
            if connector is not None:
                connectors[f'{name}_student'] = fill_in(connector, inferred, f'{key}.connector')
                learners[0]['connector'] = f'{name}_student'
                inferred['learner_dim'] = inferred['target_dim']
            losses[f'loss_{name}'] = fill_in(cfg, inferred, key)
            mappings[f'loss_{name}'] = map_arguments(cls, *learners, *targets)
        return connectors, losses, mappings

    def _build_each(self, field: str, build: Callable[[dict], nn.ModuleDict]) -> dict[str, nn.Module]:
        """Build connectors or losses one by one, so that an error names the one that failed."""
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
