"""What a pair of networks implies for a loss: the arguments that a config leaves out, and MMRazor's form of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any

import torch
from mmengine.registry import DefaultScope
from mmpretrain.models.heads import MultiLabelClsHead
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import nn

from tas_mm.registry import not_registered, refuse_unknown

from ..stages import READINGS, STAGES, StageView


def class_of(cfg: Mapping, key: str) -> type[nn.Module]:
    """Return the class that a config names, as MMRazor's scope sees it.

    Raises:
        ValueError: If no class has that name.
    """
    if not isinstance(cfg['type'], str):
        return cfg['type']
    with DefaultScope.overwrite_default_scope('mmrazor'):
        cls = RAZOR_MODELS.get(cfg['type'])
    if cls is None:
        raise ValueError(f'{key}.type={not_registered(cfg["type"])}')
    return cls


def fill_in(cfg: Mapping, inferred: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Add to a config the inferred arguments that its class has and the config does not give.

    Raises:
        ValueError: If an argument without default was not inferred, or the config gives an unknown one.
    """
    cls = class_of(cfg, key)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature(cls).parameters.values()):
        refuse_unknown(key, cfg, cls)
    asked = {name: arg for name, arg in signature(cls).parameters.items() if name in inferred and name not in cfg}
    for name, argument in asked.items():
        if inferred[name] is None and argument.default is argument.empty:
            raise ValueError(
                f'{key}: {cls.__name__} needs {name}, which only a stage has: let it read one of {", ".join(STAGES)}, '
                f'or set {name}'
            )
    return dict(cfg, **{name: inferred[name] for name in asked if inferred[name] is not None})


def infer_arguments(views: tuple[StageView, StageView], student: str, teacher: str) -> dict[str, Any]:
    """Infer what losses and connectors between two readings may ask for; None if the readings do not have it.

    Args:
        views (tuple): Views of student and teacher.
        student (str): What is read of the student, one of ``READINGS``.
        teacher (str): What is read of the teacher.
    """
    (in_channels, *in_grid), (out_channels, *out_grid) = (v.shape(r) for v, r in zip(views, (student, teacher)))
    return dict(
        learner_dim=in_channels,
        target_dim=out_channels,
        in_channels=in_channels,
        out_channels=out_channels,
        in_grid=tuple(in_grid) or None,
        out_grid=tuple(out_grid) or None,
        num_classes=views[0].num_classes or views[1].num_classes,
        feature_dims=tuple(view.feature_dim for view in views),
        family=views[0].family,
        stage=1 + STAGES.index(student) if student in STAGES else None,
        any_size=views[1].any_size or None,
    )


def wants_labels(loss: type[nn.Module] | nn.Module) -> bool:
    """Tell whether a loss has an argument ``gt_labels``."""
    return 'gt_labels' in signature(loss.forward).parameters


def detaches_target(loss: nn.Module) -> bool | None:
    """Tell whether a loss detaches its target; None if it leaves that to others, as many of MMRazor's do."""
    return getattr(loss, 'detach_target', getattr(loss, 'teacher_detach', None))


def precision_of(loss: nn.Module, device: str) -> AbstractContextManager:
    """Return the context for a loss: float32, unless it says that its own networks keep the autocast around it."""
    keeps = getattr(loss, 'keeps_autocast', False)
    return nullcontext() if keeps else torch.autocast(device, enabled=False)


def checked_term(name: str, term: Any) -> dict[str, Any]:
    """Return a term with the readings of either side, each a tuple, and its connector or None.

    What the config does not say is the loss's own choice, else the logits.

    Raises:
        ValueError: If the term is not a loss config, or reads something that networks do not have.
    """
    key = f'model.distiller.terms.{name}'
    cfg = dict(term) if isinstance(term, Mapping) else {}
    connector, reads = cfg.get('connector'), dict(student='logits', teacher='logits')
    if 'type' not in cfg:
        raise ValueError(f'{key}={term!r}, but it must be the config of a loss, with its type')
    if connector is not None and 'type' not in connector:
        raise ValueError(f'{key}.connector={connector!r}, but it must be the config of a connector, with its type')
    for given in (getattr(class_of(cfg, key), 'reads', {}), cfg.get('reads', {})):
        reads |= dict(given) if isinstance(given, Mapping) else dict(student=given, teacher=given)
    reads = {side: tuple(names) if isinstance(names, (list, tuple)) else (names,) for side, names in reads.items()}
    if len(reads) > 2 or not all(names and set(names) <= set(READINGS) for names in reads.values()):
        raise ValueError(
            f'{key}.reads={cfg["reads"]!r}, but valid are {", ".join(READINGS)}, or dict(student=..., teacher=...) of '
            'these, or of several of them for a loss that compares several'
        )
    if connector is not None and len(reads['student']) > 1:
        raise ValueError(f'{key}.connector takes one reading of the student, not {", ".join(reads["student"])}')
    return dict(cfg, reads=reads, connector=connector)


def compares_classes(reads: Mapping[str, tuple[str, ...]], connector: Mapping | None) -> bool:
    """Tell whether a term compares the teacher's logits with the student's, or with those of an exit."""
    if 'logits' not in reads['teacher']:
        return False
    exits = connector is not None and 'num_classes' in signature(class_of(connector, 'connector')).parameters
    return exits or 'logits' in reads['student']


def check_classes(student: StageView, teacher: StageView) -> None:
    """Check that two networks whose logits a loss compares tell the same classes apart.

    Raises:
        ValueError: If their numbers of classes differ.
    """
    counts = student.num_classes, teacher.num_classes
    if None not in counts and counts[0] != counts[1]:
        raise ValueError(
            f'model.teacher has num_classes={teacher.num_classes} and model.architecture '
            f'num_classes={student.num_classes}, and a loss compares their logits. Set '
            "model.distiller.teacher_classes to the teacher's index of each class of the student, fine-tune the "
            'teacher on the data set of the student, or distill features alone (model.distiller.logit_loss=None)'
        )


def check_dense(student: StageView, teacher: StageView) -> None:
    """Check that two one-stage detectors score the same classes at the same locations.

    Raises:
        ValueError: If one of them is not such a detector, or their heads differ in form.
    """
    forms = [(view.dense_shape(), view.dense_form()) for view in (student, teacher)]
    if forms[0] != forms[1]:
        (_, ours), (_, theirs) = forms
        raise ValueError(
            f'model.distiller.terms: dense_logits compare heads of one form, but model.architecture has {ours}, and '
            f'model.teacher {theirs}. Drop the term; the paths compare regions of any two detectors'
        )


def check_pair(student: StageView, teacher: StageView) -> None:
    """Check that two networks see the same images.

    Raises:
        ValueError: If channels differ, or a head scores every class by itself.
    """
    for view in (student, teacher):
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
            f'{student.in_channels}; both see the same images. Set in_channels, or load gray images as color'
        )
