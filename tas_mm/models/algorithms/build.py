"""Build the parts of a distillation from its config, in the right scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import nn

from tas_mm.config import named_model

from ..distillers import Distiller
from ..teachers import FrozenTeacher, TeacherEnsemble

Several = (list, tuple)


@dataclass(frozen=True)
class RazorOptions:
    """Options of MMRazor's ``SingleTeacherDistill``, with its defaults.

    Attributes:
        calculate_student_loss (bool): Whether the student is trained by its own loss too.
        module_inplace (bool): Whether the student's in-place modules stay in place when the config has recorders.
        teacher_module_inplace (bool): Whether the teacher's in-place modules stay in place when the config has
            recorders.
        teacher_trainable (bool): Must be False: the teacher is frozen.
        teacher_norm_eval (bool): Must be True: the teacher is in eval mode.
        student_trainable (bool): Must be True: the student is trained.
    """

    calculate_student_loss: bool = True
    module_inplace: bool = False
    teacher_module_inplace: bool = False
    teacher_trainable: bool = False
    teacher_norm_eval: bool = True
    student_trainable: bool = True

    def __post_init__(self) -> None:
        for name, fixed, why in (
            ('teacher_trainable', False, 'TAS keeps the teacher frozen'),
            ('teacher_norm_eval', True, 'TAS keeps the whole teacher in eval mode'),
            ('student_trainable', True, 'TAS trains the student'),
        ):
            if (value := getattr(self, name)) is not fixed:
                raise ValueError(f'model.{name}={value!r}. Expected {fixed}: {why}')


Options = TypeVar('Options')


def chosen(options: type[Options], given: Mapping[str, Any]) -> Options:
    """Select the options of one class from those of a config, and build it."""
    names = (field.name for field in fields(options))  # type: ignore[arg-type]
    return options(**{name: given[name] for name in names if name in given})


def switch_off_inplace(
    distiller: Distiller, student: nn.Module, teacher: FrozenTeacher | TeacherEnsemble, options: RazorOptions
) -> None:
    """Switch off in-place modules, as MMRazor does, if the config has recorders, whose records they would overwrite."""
    if not distiller.uses_recorders:
        return
    networks = [] if options.module_inplace else [student]
    networks += [] if options.teacher_module_inplace else [*teacher.networks]
    for module in (module for network in networks for module in network.modules()):
        if hasattr(module, 'inplace'):
            module.inplace = False


def model_scope() -> AbstractContextManager:
    """Return the scope to build networks in: the current one, or MMPretrain's if the current one has no classifiers."""
    scope = DefaultScope.get_current_instance()
    # MMEngine's own scope, the default of a runner, has no classifiers.
    unknown = scope is None or scope.scope_name == 'mmengine'
    return DefaultScope.overwrite_default_scope('mmpretrain' if unknown else scope.scope_name)


def build_student(
    architecture: dict | BaseModel, data_preprocessor: dict | nn.Module | None
) -> tuple[BaseModel, nn.Module | None]:
    """Build the student. Return it, and a preprocessor that is still to be attached, or None.

    A preprocessor's config goes to the student, which builds it with its batch augmentations (mixup, cutmix).
    """
    if not isinstance(architecture, dict):
        return architecture, data_preprocessor
    if isinstance(data_preprocessor, dict):
        architecture = {'data_preprocessor': data_preprocessor, **architecture}
        data_preprocessor = None
    # Two-stage detectors read their options as attributes.
    return RAZOR_MODELS.build(ConfigDict(named_model(architecture))), data_preprocessor


def build_distiller(
    distiller: dict | Sequence[dict] | None, student: BaseModel, teacher: FrozenTeacher | TeacherEnsemble
) -> nn.Module:
    """Build the distiller, a config or a list of them, and bind it. For several teachers, build one for each.

    Raises:
        ValueError: If the numbers of distillers and teachers differ, or if the networks do not match.
    """
    distiller = distiller or dict(type='tas_mm.TASDistiller')
    several = isinstance(teacher, TeacherEnsemble)
    if several:
        count = len(teacher.networks)
        each = list(distiller) if isinstance(distiller, Several) else [deepcopy(distiller) for _ in range(count)]
        if len(each) != count:
            raise ValueError(
                f'model.distiller is a list of {len(each)}, but model.teacher has {count}. Give one distiller for each '
                'teacher'
            )
        distiller = dict(
            type='tas_mm.DistillerGroup', distillers=each, weights=teacher.weights, by_image=teacher.by_image
        )
    elif isinstance(distiller, Several):
        raise ValueError('model.distiller is a list, but model.teacher is one teacher. Make model.teacher a list too')
    with DefaultScope.overwrite_default_scope('mmrazor'):
        built = RAZOR_MODELS.build(dict(distiller))  # type: ignore[arg-type]
    built.prepare_from_student(student)
    built.prepare_from_teacher(teacher.networks if several else teacher.network)
    return built
