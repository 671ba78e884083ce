"""TASDistiller: the paper's three paths, with an assistant built from the two networks.

Source of the paths and their losses: TAS, arXiv 2410.12342.
"""

from __future__ import annotations

import math
from typing import Any

from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor

from tas_mm.registry import MODELS, refuse_unknown

from ..assistant import HybridAssistant, early_role
from ..knowledge import Knowledge, Observation
from .inference import check_classes, class_of, detaches_target, fill_in
from .pair_distiller import Configs, PairDistiller
from .razor_form import map_arguments, record_of

ASSISTANT = 'assistant'


def three_paths(student: Any, teacher: Any, assistant: Any) -> dict[str, tuple[Any, Any]]:
    """Return the paper's paths by name: (learner, target), that is, who learns from whom.

    The names are in upper case because ``as`` is a keyword in Python, so a config could not write ``dict(as=...)``.

    Examples:
        >>> three_paths('student', 'teacher', 'assistant')['TA']
        ('assistant', 'teacher')
    """
    return dict(TS=(student, teacher), TA=(assistant, teacher), AS=(student, assistant))


PATHS = three_paths('student', 'teacher', ASSISTANT)


@MODELS.register_module()
class TASDistiller(PairDistiller):
    """The paper's distiller. A config needs no more than ``dict(type='tas_mm.TASDistiller')``.

    Args:
        paths (dict, optional): Weight of each path: ``TS`` (teacher to student), ``TA`` (teacher to assistant), ``AS``
            (assistant to student). 0 switches a path off. A path that is not named has weight 1. Defaults to None.
        feature_loss (dict | None): Loss between pooled features on every path, None for no such loss. Its ``forward``
            takes learner and target first. Without ``type`` it is ``InfoNCELoss``. Defaults to an empty dict.
        logit_loss (dict | None): Loss between logits on every path whose two sides have logits, None for no such loss.
            Its ``forward`` takes learner and target first, and the labels as ``gt_labels`` if it has that argument.
            MMRazor's losses (``KLDivergence``, ``DISTLoss``, ...) work. Without ``type`` it is ``OFALoss``. Defaults to
            an empty dict.
        assistant (dict, optional): Options of ``HybridAssistant``. Defaults to None.
        **kwargs: Options of ``PairDistiller``. ``terms`` adds losses from teacher to student to those of the paths.

    Raises:
        ValueError: If a path is unknown. At binding, if something does not match the two networks.

    Examples:
        >>> import torch
        >>> from tas_mm.models import TASDistiller
        >>> from tas_mm.recipes.sources import build_classifier
        >>> student, teacher = build_classifier('timm:resnet18'), build_classifier('timm:vit_tiny_patch16_224')
        >>> distiller = TASDistiller()
        >>> distiller.prepare(student, teacher.eval())
        >>> images, labels = torch.randn(2, 3, 224, 224), torch.tensor([1, 2])
        >>> with torch.no_grad():
        ...     taught, _ = distiller.teacher_observer(teacher, images, mode='tensor')
        >>> learned, logits = distiller.student_observer(student, images, mode='tensor')
        >>> list(distiller(learned, taught, labels))
        ['loss_ts_nce', 'loss_ts_kd', 'loss_ta_nce', 'loss_ta_kd', 'loss_as_nce', 'loss_as_kd']
    """

    def __init__(
        self,
        paths: dict[str, float] | None = None,
        feature_loss: dict | None = dict(),
        logit_loss: dict | None = dict(),
        assistant: dict | None = None,
        **kwargs: Any,
    ) -> None:
        refuse_unknown('model.distiller', kwargs, TASDistiller, PairDistiller)
        super().__init__(**kwargs)
        for name, weight in (paths or {}).items():
            if name not in PATHS:
                raise ValueError(f'model.distiller.paths: unknown path {name!r}. Expected one of {", ".join(PATHS)}')
            if not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
                raise ValueError(f'model.distiller.paths.{name}={weight!r}. Expected a number of at least 0')
        self.assistant_name: str | None = None
        self.paths = {name: (paths or {}).get(name, 1.0) for name in PATHS}
        self.feature_loss = None if feature_loss is None else {'type': 'tas_mm.InfoNCELoss', **feature_loss}
        self.asks_for_logits = bool(logit_loss)
        self.left_out: dict[str, str] = {}  # losses that are not possible for this pair, with the reason
        self.logit_loss = None if logit_loss is None else {'type': 'tas_mm.OFALoss', **logit_loss}
        # An assistant in MMRazor's form overrides the options.
        given = self.user_config.get('connectors', {})
        self.assistant_cfg = given.get(ASSISTANT, {'type': 'tas_mm.HybridAssistant', **(assistant or {})})

    # ---- a step ----------------------------------------------------------------------------------------------------

    def forward(self, student: Observation, teacher: Observation, labels: Tensor | None) -> dict[str, Tensor]:
        """Compute the losses of the three paths, then those of the terms; see :class:`Distiller`."""
        if self.razor_form is not None:
            return super().forward(student, teacher, labels)
        assistant = self.run_assistant(student, teacher)
        losses = {}
        for path, (learner, target) in three_paths(student, teacher, assistant).items():
            if not self.paths[path]:
                continue
            nce, kd = f'loss_{path.lower()}_nce', f'loss_{path.lower()}_kd'
            if self.feature_loss is not None:
                losses[nce] = self.compare(nce, learner.feature, target.feature, labels)
            if kd in self.distill_losses and not (labels is None and self.head_needs_labels):
                losses[kd] = self.compare(kd, learner.logits, target.logits, labels)
        return losses | super().forward(student, teacher, labels) if self.terms else losses

    def run_assistant(self, student: Observation, teacher: Observation | None) -> Knowledge | None:
        """Return the assistant's knowledge of a batch. None if no loss reads it."""
        assistant = self.assistant
        if assistant is None:
            return None
        if self.razor_form is not None:
            record = dict(self.razor_form.assistant_record, connector_idx=None)
            return self.razor_form.read(record, student, teacher, None, {})
        early = student if assistant.early_role == 'student' else teacher
        return assistant(early.map(assistant.early_stages), early.regions)

    # ---- binding ---------------------------------------------------------------------------------------------------

    def bind(self) -> None:
        """Build the assistant, connectors, losses and observers for the pair.

        Raises:
            ValueError: If class counts differ, or a recorder, loss, connector or mapping does not match the pair.
        """
        super().bind()
        self.assistant_name = self._find_assistant()
        if self.assistant is not None and not self._assistant_learns():
            # No path trains it (the paper's ablation C), and DDP fails on parameters without a gradient.
            self.assistant.requires_grad_(False)

    @property
    def head_needs_labels(self) -> bool:
        """True if the student's head can only learn from labels, because the teacher has no head."""
        return self.teacher_view.headless and not self.student_view.headless

    @property
    def assistant(self) -> HybridAssistant | None:  # type: ignore[override]
        """The assistant, or None if no loss reads one."""
        return self.connectors[self.assistant_name] if self.assistant_name else None

    def _find_assistant(self) -> str | None:
        """Return the name of the assistant among the connectors that losses read, or None."""
        mappings = self.config['loss_forward_mappings'].values()
        read = [record['connector'] for mapping in mappings for record in mapping.values() if 'connector' in record]
        return next((name for name in read if isinstance(self.connectors[name], HybridAssistant)), None)

    def _assistant_learns(self) -> bool:
        """Return True if a loss trains the assistant: as its learner, or as a target that is not detached."""
        for name, mapping in self.config['loss_forward_mappings'].items():
            keeps = detaches_target(self.distill_losses[name]) is False
            for i, record in enumerate(mapping.values()):
                if record.get('connector') == self.assistant_name and (i == 0 or keeps):
                    return True
        return False

    # ---- inference -------------------------------------------------------------------------------------------------

    def _infer(self) -> tuple[Configs, Configs, Configs]:
        """Infer connectors, losses and mappings from the paths, then from the terms."""
        views = dict(zip(('student', 'teacher'), self.views))
        assistant = self._unbound_assistant()
        early = assistant.early_role or early_role(*self.views)
        late = next(view for role, view in views.items() if role != early)
        record = dict(recorder=f'stage{assistant.early_stages}', from_student=early == 'student', connector=ASSISTANT)
        losses, mappings, self.left_out = {}, {}, {}
        for path, roles in PATHS.items():
            networks = [views.get(role, late) for role in roles]
            for kind, cfg, reading in (('nce', self.feature_loss, 'feature'), ('kd', self.logit_loss, 'logits')):
                if cfg is None or not self.paths[path]:
                    continue
                name, key = f'loss_{path.lower()}_{kind}', f'model.distiller.{reading}_loss'.replace('logits', 'logit')
                headless = [role for role, view in zip(roles, networks) if view.logits_source is None]
                if kind == 'kd' and headless:
                    self.left_out[name] = (
                        f'the {" and the ".join(headless)} {"have" if headless[1:] else "has"} no logits'
                    )
                    continue
                if kind == 'kd' and {*networks} == {*self.views}:
                    check_classes(*self.views)
                cls = class_of(cfg, key)
                cfg = dict(cfg, loss_weight=cfg.get('loss_weight', 1.0) * self.paths[path])
                widths = [view.shape(reading)[0] for view in networks]
                losses[name] = fill_in(cfg, dict(zip(('learner_dim', 'target_dim'), widths)), key)
                index = dict(connector_idx=Knowledge._fields.index(reading))
                sides = (
                    record_of(reading, views[role], role == 'student') if role in views else record | index
                    for role in roles
                )
                mappings[name] = map_arguments(cls, *sides)
        if self.asks_for_logits and self.left_out and not any(name.endswith('_kd') for name in losses):
            raise ValueError(
                'model.distiller.logit_loss: '
                + '; '.join(f'{name} is not possible, because {why}' for name, why in self.left_out.items())
                + '. Remove logit_loss, or set it to None'
            )
        connectors, more_losses, more_mappings = super()._infer()
        for name in losses.keys() & more_losses.keys():
            raise ValueError(
                f'model.distiller.terms.{name.removeprefix("loss_")}: the paths already have a {name}. Expected a name '
                f'other than {", ".join(loss.removeprefix("loss_") for loss in losses)}'
            )
        return {ASSISTANT: self.assistant_cfg, **connectors}, losses | more_losses, mappings | more_mappings

    def _unbound_assistant(self) -> HybridAssistant:
        """Build an assistant that is not bound to networks, to read its options."""
        cls = class_of(self.assistant_cfg, 'model.distiller.connectors.assistant')
        refuse_unknown('model.distiller.assistant', self.assistant_cfg, cls)
        return RAZOR_MODELS.build(self.assistant_cfg)
