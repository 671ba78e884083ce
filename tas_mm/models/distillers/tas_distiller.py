"""TASDistiller: the paper's three paths, through an assistant that is made of the two networks.

MMRazor's recorders only read outputs and its connectors know neither network, so no config alone can build the
assistant. This distiller adds the one step that is missing: when both networks are there it lets the assistant hold
their views.

Source of the three paths and their losses: TAS, arXiv 2410.12342.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import nn

from tas_mm.registry import MODELS, refuse_unknown

from ..connectors import HybridAssistant
from ..connectors.hybrid_assistant import early_role
from ..stages import Knowledge
from .pair_distiller import Configs, PairDistiller, class_of, fill_in, map_arguments, record_of

PATHS = {'TS': ('student', 'teacher'), 'TA': ('assistant', 'teacher'), 'AS': ('student', 'assistant')}
"""Name of a path -> who learns from whom. Not in lower case: ``as`` is a keyword, which a config cannot write out."""

ASSISTANT = 'assistant'


@MODELS.register_module()
class TASDistiller(PairDistiller):
    """The paper's distiller; ``dict(type='tas_mm.TASDistiller')`` is all a config needs.

    Args:
        paths (dict, optional): Weight of each path, ``TS`` (teacher to student), ``TA`` (teacher to assistant), ``AS``
            (assistant to student); 0 switches one off, one not named counts 1. Defaults to None.
        feature_loss (dict | None): Loss between pooled features on every path; None for none. Its ``forward`` takes
            learner and target first. Without ``type`` it is ``InfoNCELoss``. Defaults to an empty dict.
        logit_loss (dict | None): Loss between logits on every path; None for none. Its ``forward`` takes learner and
            target first, and ``gt_labels`` if it wants the labels. MMRazor's (``KLDivergence``, ``DISTLoss``, ...) fit.
            Without ``type`` it is ``OFALoss``. Defaults to an empty dict.
        assistant (dict, optional): Options of ``HybridAssistant``. Defaults to None.
        **kwargs: Those of ``PairDistiller``; ``terms`` add losses from teacher to student to those of the paths.

    Raises:
        ValueError: For an unknown path, and, when both networks are there, for everything that does not fit them.
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
                raise ValueError(f'model.distiller.paths has {name!r}, but valid are {", ".join(PATHS)}')
            if not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
                raise ValueError(f'model.distiller.paths.{name}={weight!r}, but a weight is a number of at least 0')
        self.paths = {name: (paths or {}).get(name, 1.0) for name in PATHS}
        self.feature_loss = None if feature_loss is None else {'type': 'tas_mm.InfoNCELoss', **feature_loss}
        self.logit_loss = None if logit_loss is None else {'type': 'tas_mm.OFALoss', **logit_loss}
        # An assistant given in MMRazor's form has the word on its options.
        given = self.given['connectors'] or {}
        self.assistant_cfg = given.get(ASSISTANT, {'type': 'tas_mm.HybridAssistant', **(assistant or {})})

    # ---- binding ---------------------------------------------------------------------------------------------------

    def bind(self) -> None:
        """Build recorders, connectors with the assistant, and losses for the pair.

        Raises:
            ValueError: If the class counts differ, or a recorder, loss, connector or mapping does not fit the pair.
        """
        super().bind()
        if self.assistant is not None and not self._assistant_learns():
            # No path trains it (the paper's ablation C): parameters without a gradient would stop DDP.
            self.assistant.requires_grad_(False)
        self._detach_assistant()

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

    def _work_out(self) -> tuple[Configs, Configs, Configs]:
        """Connectors, losses and their mappings, of the paths and then of the terms."""
        student, teacher = self.views
        cls = class_of(self.assistant_cfg, 'model.distiller.connectors.assistant')
        refuse_unknown('model.distiller.assistant', self.assistant_cfg, cls)
        assistant = RAZOR_MODELS.build(self.assistant_cfg)
        early_is_student = (assistant.early_role or early_role(student, teacher)) == 'student'
        late = teacher if early_is_student else student
        from_assistant = dict(recorder=assistant.recorder, from_student=early_is_student, connector=ASSISTANT)
        where = {  # role -> where its feature and logits come from
            'student': (record_of('feature', True), record_of('logits', True)),
            'teacher': (record_of('feature', False), record_of('logits', False)),
            'assistant': (dict(from_assistant, connector_idx=0), dict(from_assistant, connector_idx=1)),
        }
        views = dict(student=student, teacher=teacher, assistant=late)
        losses, mappings = {}, {}
        for path, roles in PATHS.items():
            if not self.paths[path]:
                continue
            for i, (name, field, reading) in enumerate(
                (('nce', 'feature_loss', 'feature'), ('kd', 'logit_loss', 'logits'))
            ):
                cfg, key = getattr(self, field), f'model.distiller.{field}'
                if cfg is None:
                    continue
                cls = class_of(cfg, key)
                cfg = dict(cfg, loss_weight=cfg.get('loss_weight', 1.0) * self.paths[path])
                widths = (views[role].shape(reading)[0] for role in roles)
                losses[f'loss_{path.lower()}_{name}'] = fill_in(
                    cfg, dict(zip(('learner_dim', 'target_dim'), widths)), key
                )
                mappings[f'loss_{path.lower()}_{name}'] = map_arguments(cls, *(where[role][i] for role in roles))
        connectors, more_losses, more_mappings = super()._work_out()
        for name in losses.keys() & more_losses.keys():
            raise ValueError(
                f'model.distiller.terms.{name.removeprefix("loss_")}: the paths have a {name} already; valid is any '
                f'other name than {", ".join(loss.removeprefix("loss_") for loss in losses)}'
            )
        return {ASSISTANT: self.assistant_cfg, **connectors}, losses | more_losses, mappings | more_mappings

    def _assistant_learns(self) -> bool:
        """Whether any loss has the assistant as its learner, or as a target that keeps its gradient."""
        for name, mapping in self.loss_forward_mappings.items():
            loss = self.distill_losses[name]
            keeps = not getattr(loss, 'detach_target', getattr(loss, 'teacher_detach', True))
            for i, record in enumerate(mapping.values()):
                if self._reads_assistant(record) and (i == 0 or keeps):
                    return True
        return False

    def _detach_assistant(self) -> None:
        """Keep gradients out of the assistant where it is a target: many of MMRazor's losses leave that to others."""
        for name, mapping in self.loss_forward_mappings.items():
            loss = self.distill_losses[name]
            targets = [key for i, (key, record) in enumerate(mapping.items()) if i and self._reads_assistant(record)]
            if targets and not hasattr(loss, 'detach_target') and not hasattr(loss, 'teacher_detach'):
                loss.register_forward_pre_hook(partial(_detach, targets), with_kwargs=True)

    # ---- a step ----------------------------------------------------------------------------------------------------

    def run_assistant(self) -> Knowledge:
        """The assistant's knowledge of what the recorders hold; for validation."""
        try:
            return self.get_record(**dict(self._assistant_record, connector_idx=None))
        finally:
            self._connected = {}


def _detach(names: list[str], loss: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Forward pre-hook of a loss: its arguments, those that are named without their graph."""
    return args, {key: value.detach() if key in names else value for key, value in kwargs.items()}
