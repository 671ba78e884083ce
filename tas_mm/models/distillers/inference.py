"""Infer the arguments of losses and connectors that a config leaves out, and check that a pair fits together."""

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

from ..losses.projected import ProjectedLoss
from ..stages import LEVELS, READINGS, STAGES, StageView


def class_of(cfg: Mapping, key: str) -> type[nn.Module]:
    """Return the class that a config names, resolved in MMRazor's scope.

    Raises:
        ValueError: If there is no class of that name.
    """
    if not isinstance(cfg['type'], str):
        return cfg['type']
    with DefaultScope.overwrite_default_scope('mmrazor'):
        cls = RAZOR_MODELS.get(cfg['type'])
    if cls is None:
        raise ValueError(f'{key}.type={not_registered(cfg["type"])}')
    return cls


def fill_in(cfg: Mapping, inferred: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Complete a config with inferred arguments that its class takes and the config does not set.

    Raises:
        ValueError: If an argument without a default could not be inferred, or if the config has an unknown one.
    """
    cls = class_of(cfg, key)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature(cls).parameters.values()):
        refuse_unknown(key, cfg, cls)
    asked = {name: arg for name, arg in signature(cls).parameters.items() if name in inferred and name not in cfg}
    for name, argument in asked.items():
        if inferred[name] is None and argument.default is argument.empty:
            raise ValueError(
                f'{key}: {cls.__name__} needs {name}, which only a stage has. Set reads to one of {", ".join(STAGES)}, '
                f'or set {name}'
            )
    return dict(cfg, **{name: inferred[name] for name in asked if inferred[name] is not None})


def infer_arguments(views: tuple[StageView, StageView], student: str, teacher: str) -> dict[str, Any]:
    """Infer the arguments of losses and connectors between two readings. None if the readings do not have a value.

    Args:
        views (tuple): Views of student and teacher.
        student (str): The student's reading, one of ``READINGS``.
        teacher (str): The teacher's reading, one of ``READINGS``.
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
    """Return True if a loss has an argument ``gt_labels``."""
    return 'gt_labels' in signature(loss.forward).parameters


def detaches_target(loss: nn.Module) -> bool | None:
    """Return True if a loss detaches its target, None if it leaves that to the caller, as many of MMRazor's do."""
    return getattr(loss, 'detach_target', getattr(loss, 'teacher_detach', None))


def precision_of(loss: nn.Module, device: str) -> AbstractContextManager:
    """Return the context to run a loss in: float32, unless the loss has networks of its own that keep the autocast."""
    keeps = getattr(loss, 'keeps_autocast', False)
    return nullcontext() if keeps else torch.autocast(device, enabled=False)


def checked_term(name: str, term: Any) -> dict[str, Any]:
    """Return a term with the readings of each side as a tuple, and its connector or None.

    If the config does not set ``reads``, the loss's class attribute counts, else the logits.

    Raises:
        ValueError: If the term is not a loss config, or if it reads something unknown.
    """
    key = f'model.distiller.terms.{name}'
    cfg = dict(term) if isinstance(term, Mapping) else {}
    connector, named = cfg.get('connector'), dict(student='logits', teacher='logits')
    if 'type' not in cfg:
        raise ValueError(f'{key}={term!r}. Expected the config of a loss, with its type')
    if connector is not None and 'type' not in connector:
        raise ValueError(f'{key}.connector={connector!r}. Expected the config of a connector, with its type')
    for given in (getattr(class_of(cfg, key), 'reads', {}), cfg.get('reads', {})):
        named |= dict(given) if isinstance(given, Mapping) else dict(student=given, teacher=given)
    reads = {side: tuple(names) if isinstance(names, (list, tuple)) else (names,) for side, names in named.items()}
    if len(reads) > 2 or not all(names and set(names) <= set(READINGS) for names in reads.values()):
        raise ValueError(
            f'{key}.reads={cfg["reads"]!r}. Expected one of {", ".join(READINGS)}, or dict(student=..., teacher=...) '
            'of these. A loss that compares several takes a tuple of them'
        )
    if connector is not None and len(reads['student']) > 1:
        raise ValueError(f'{key}.connector: the student reads {", ".join(reads["student"])}. Expected one reading')
    return dict(cfg, reads=reads, connector=connector)


def compares_classes(reads: Mapping[str, tuple[str, ...]], connector: Mapping | None) -> bool:
    """Return True if a term compares the teacher's logits with logits of the student or of one of its exits."""
    if 'logits' not in reads['teacher']:
        return False
    exits = connector is not None and 'num_classes' in signature(class_of(connector, 'connector')).parameters
    return exits or 'logits' in reads['student']


def check_classes(student: StageView, teacher: StageView) -> None:
    """Check that two networks whose logits a loss compares have the same number of classes.

    Raises:
        ValueError: If the numbers differ.
    """
    counts = student.num_classes, teacher.num_classes
    if None not in counts and counts[0] != counts[1]:
        raise ValueError(
            f'model.teacher has num_classes={teacher.num_classes} and model.architecture has '
            f'num_classes={student.num_classes}, but a loss compares their logits. Set '
            "model.distiller.teacher_classes to the teacher's index of each class of the student, fine-tune the "
            "teacher on the student's data set, or distill only features (model.distiller.logit_loss=None)"
        )


def check_dense(student: StageView, teacher: StageView) -> None:
    """Check that two one-stage detectors score the same classes at the same locations.

    Raises:
        ValueError: If one of them is not such a detector, or their heads differ in form.
    """
    for view in (student, teacher):
        if view.dense_source is None:
            raise ValueError(
                f'{view.key}: {type(view.model).__name__} has no class scores by location, which dense_logits are. '
                'Expected a one-stage detector with sigmoid scores, such as RetinaNet, FCOS, ATSS or RTMDet'
            )
    ours, theirs = student.dense_form(), teacher.dense_form()
    if ours != theirs:
        raise ValueError(
            f'model.distiller.terms: dense_logits compare heads of one form, but model.architecture has {ours}, and '
            f'model.teacher {theirs}. Drop the term; the paths compare regions of any two detectors'
        )


def check_levels(name: str, cls: type[nn.Module], views: Mapping[str, StageView], reads: Mapping[str, tuple]) -> None:
    """Check that the levels of two pyramids that a loss compares place by place have the same stride.

    Raises:
        ValueError: If they do not, and the loss neither resizes maps nor asks for their grids.
    """
    if issubclass(cls, ProjectedLoss) or 'in_grid' in signature(cls).parameters:
        return
    for ours, theirs in zip(reads['student'], reads['teacher']):
        if ours in LEVELS and theirs in LEVELS:
            mine, other = views['student'].shape(ours)[1:], views['teacher'].shape(theirs)[1:]
            if mine != other:
                shapes = [shape[1:] for shape in views['teacher'].levels]
                fit = f"dict(student='{ours}', teacher='{LEVELS[shapes.index(mine)]}')" if mine in shapes else 'another'
                raise ValueError(
                    f'model.distiller.terms.{name}.reads: {ours} of model.architecture has {mine[0]}x{mine[1]} places, '
                    f'and {theirs} of model.teacher {other[0]}x{other[1]}. Expected {fit}'
                )


def check_pair(student: StageView, teacher: StageView) -> None:
    """Check that two networks take the same images and predict one class per image.

    Raises:
        ValueError: If the numbers of input channels differ, or if a head scores every class independently.
    """
    for view in (student, teacher):
        head = getattr(view.model, 'head', None)
        if isinstance(head, MultiLabelClsHead):
            raise ValueError(
                f'{view.key}.head is a {type(head).__name__}, which scores every class independently. Losses and '
                'validation expect logits of one distribution over the classes. Use a head for single-label '
                'classification, such as LinearClsHead'
            )
    if student.in_channels != teacher.in_channels:
        raise ValueError(
            f'model.teacher takes images of {teacher.in_channels} channels and model.architecture of '
            f'{student.in_channels}. Both get the same images: set in_channels, or load gray images as color'
        )
