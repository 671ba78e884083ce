"""Build the teacher from a config, a path, a name or a module, with its weights."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmpretrain import list_models
from mmpretrain.apis.model import ModelHub
from mmpretrain.models import ImageClassifier
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor, nn

from tas_mm.config import named_model, read_config, type_name, without_weights
from tas_mm.registry import MODELS

from ..stages import logits_of
from .cache import open_cache
from .ensemble import TeacherEnsemble
from .huggingface import HuggingFaceBackbone
from .teacher import FrozenTeacher
from .weights import load_weights, random_parameters

if TYPE_CHECKING:
    from ..distillers import Distiller

Several = (list, tuple)
BY_IMAGE = 'by_image'
"""Value of ``teacher_weights`` that drops teachers image by image."""
DTYPES = (None, 'bfloat16')


@dataclass(frozen=True)
class TeacherOptions:
    """Options of ``model`` for the teacher, documented in :class:`TAS`."""

    teacher_ckpt: str | Sequence[str | None] | None = None
    teacher_dtype: str | None = None
    teacher_weights: Sequence[float] | str | None = None
    teacher_cache: str | dict | None = None
    allow_teacher_change: bool = False

    def __post_init__(self) -> None:
        if self.teacher_dtype not in DTYPES:
            raise ValueError(
                f'model.teacher_dtype={self.teacher_dtype!r}. Expected one of {", ".join(map(repr, DTYPES))}'
            )


def settle(teacher: FrozenTeacher | TeacherEnsemble, options: TeacherOptions, distiller: Distiller) -> None:
    """Set what depends on the bound distiller: the teacher's image size, classes, weight type and cache."""
    if distiller.student_view is not None:
        for each, view in zip(teacher.each, distiller.teacher_views):
            each.see_as(view, distiller.student_view.input_size)
    if options.teacher_dtype is not None:
        teacher.keep_in(getattr(torch, options.teacher_dtype))
    if options.teacher_cache is not None:
        teacher.cache = open_cache(options.teacher_cache, teacher, distiller)


def build_frozen(
    teacher: Any, student_preprocessor: nn.Module, options: TeacherOptions
) -> FrozenTeacher | TeacherEnsemble:
    """Build a teacher, or several as an ensemble, and freeze it.

    Args:
        teacher (Any): A teacher as for :func:`build_teacher`, or a list of them.
        student_preprocessor (nn.Module): The student's data preprocessor.
        options (TeacherOptions): Checkpoints and weights.

    Raises:
        ValueError: If list lengths differ or a weight is invalid. Errors about one of several teachers include its
            index.
    """
    checkpoint, weights = options.teacher_ckpt, options.teacher_weights
    if not isinstance(teacher, Several):
        for key, value in (('teacher_ckpt', checkpoint), ('teacher_weights', weights)):
            if isinstance(value, Several):
                raise ValueError(
                    f'model.{key}={value!r} is a list, but model.teacher is one teacher. Make it a list too'
                )
        return FrozenTeacher(build_teacher(teacher, checkpoint), student_preprocessor)  # type: ignore[arg-type]
    count = len(teacher)
    checkpoints = [None] * count if checkpoint is None else checkpoint
    by_image, weights = weights == BY_IMAGE, [1 / count] * count if weights in (None, BY_IMAGE) else weights
    for key, value in (('teacher_ckpt', checkpoints), ('teacher_weights', weights)):
        if not isinstance(value, Several) or len(value) != count:
            raise ValueError(f'model.{key}={value!r}, but model.teacher has {count}. Expected a list of {count}')
    if not all(isinstance(w, (int, float)) and 0 <= w < math.inf for w in weights) or not any(weights):
        raise ValueError(f'model.teacher_weights={weights!r}. Expected numbers of at least 0, not all of them 0')
    built = []
    for i, pair in enumerate(zip(teacher, checkpoints)):
        try:
            built.append(build_teacher(*pair))
        except (TypeError, ValueError, FileNotFoundError) as error:
            raise type(error)(f'{error} (number {i} of model.teacher)') from error
    teachers = [FrozenTeacher(network, student_preprocessor) for network in built]
    return TeacherEnsemble(teachers, weights, by_image)  # type: ignore[arg-type]


@MODELS.register_module()
class ModuleTeacher(BaseModel):
    """Any ``nn.Module`` that returns logits or features, as a teacher.

    Args:
        model (dict | nn.Module): The module, or the config of a class in MMEngine's registry ``MODELS``. It takes
            images ``(B, C, H, W)``. It returns logits ``(B, num_classes)``, alone, as ``.logits``, or first in a
            tuple; or, without a head, a vector ``(B, C)``, a map ``(B, C, H, W)`` or tokens ``(B, N, C)``.
        data_preprocessor (dict, optional): Its ``mean`` and ``std`` normalize the teacher's images. Defaults to None:
            as for the student.

    Examples:
        >>> import torch
        >>> from tas_mm.models import ModuleTeacher
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
        >>> ModuleTeacher(net)(torch.zeros(2, 3, 2, 2)).shape
        torch.Size([2, 5])
    """

    def __init__(self, model: dict | nn.Module, data_preprocessor: dict | None = None) -> None:
        if data_preprocessor is not None:
            data_preprocessor = {'type': 'mmpretrain.ClsDataPreprocessor', **data_preprocessor}
        super().__init__(data_preprocessor)
        self.model = RAZOR_MODELS.build(model) if isinstance(model, dict) else model
        self._is_init = True  # its own constructor initialized it

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> Tensor:
        """Return the module's output for the images, in every mode."""
        return logits_of(self.model(inputs))


def build_teacher(teacher: dict | str | nn.Module, checkpoint: str | None = None) -> BaseModel:
    """Build a teacher and load its weights.

    Args:
        teacher (dict | str | nn.Module): A model config, the path of a config, the name of a model in MMPretrain's
            index, or a built model.
        checkpoint (str, optional): File or URL of its weights. Defaults to None: the published weights for a named
            model, else those that the config loads itself.

    Raises:
        TypeError: If ``teacher`` is none of these.
        FileNotFoundError: If ``checkpoint`` is a file that does not exist.
        ValueError: If the weights cannot be read or do not fit.
    """
    if not isinstance(teacher, (dict, str, nn.Module)):
        raise TypeError(
            f'model.teacher={teacher!r}. Expected a model config, the path of a config, the name of one of '
            "MMPretrain's models, or a built model"
        )
    if checkpoint and '://' not in checkpoint and not os.path.isfile(os.path.expanduser(checkpoint)):
        raise FileNotFoundError(
            f'model.teacher_ckpt={checkpoint!r} does not exist (relative to {Path.cwd()}). Name a file or URL with '
            "the teacher's weights"
        )
    if isinstance(teacher, nn.Module):
        network = _as_model(teacher)
        if checkpoint:
            _load(network, checkpoint)
        return network
    config = teacher_config(teacher)
    checkpoint = checkpoint or published_weights(teacher)
    if checkpoint:  # it replaces other weights, which need not be fetched
        network = _built(without_weights(named_model(config)), initialize=False)
        _load(network, checkpoint)
        return network
    network = _built(config)
    if not _loads_weights(config):
        _warn(
            'THE TEACHER HAS NO TRAINED WEIGHTS: model.teacher_ckpt is not set and its config loads none. A student '
            'distilled from a random teacher learns nothing from it. Set model.teacher_ckpt to a file or URL'
        )
    elif drawn := random_parameters(partial(_built, config), network):
        _warn(
            f'THE TEACHER HAS RANDOM WEIGHTS: its config loads trained ones, but not for {len(drawn)} of its '
            f'parameters, such as {drawn[-1]!r}. Their outputs, such as logits of a new head, teach nothing. '
            'Fine-tune the teacher and set model.teacher_ckpt, or distill only features'
        )
    return network


def _built(config: dict, initialize: bool = True) -> BaseModel:
    """Build a teacher from its config, with the weights that the config loads itself."""
    # Two-stage detectors read their options as attributes.
    network = _as_model(RAZOR_MODELS.build(ConfigDict(named_model(config))))
    if initialize and not getattr(network, '_is_init', False):
        network.init_weights()
    return network


def _as_model(network: nn.Module) -> BaseModel:
    """Return a network as a model that takes images. A backbone of MMPretrain gets a classifier without a head."""
    if isinstance(network, BaseModel):
        return network
    return ImageClassifier(backbone=network) if isinstance(network, BaseBackbone) else ModuleTeacher(network)


def _load(network: BaseModel, checkpoint: str) -> None:
    inner = isinstance(network, (ModuleTeacher, HuggingFaceBackbone))
    load_weights(network.model if inner else network, checkpoint)


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)


def teacher_config(teacher: dict | str) -> dict:
    """Return the model config of a teacher, which may be the path of a config or a name in MMPretrain's index.

    It includes the preprocessor. A named model's config loads no weights, because they come as a checkpoint.
    """
    if not isinstance(teacher, str):
        return teacher
    if _is_name(teacher):
        config = ModelHub.get(teacher).config
        config.model = without_weights(config.model)
    else:
        try:
            config = read_config(teacher)
        except FileNotFoundError as error:
            others = f", or one of MMPretrain's models. Closest names: {_nearest(teacher)}"
            more = '' if teacher.endswith('.py') else others
            raise FileNotFoundError(
                f'model.teacher={teacher!r}: {error}. Name a config file, or one of a package as mmpretrain::PATH{more}'
            ) from None
    model = config.model
    if 'data_preprocessor' in config:
        model.setdefault('data_preprocessor', config.data_preprocessor)
    model.setdefault('_scope_', config.get('default_scope', 'mmpretrain'))
    return model


def _is_name(teacher: dict | str) -> bool:
    """Return True if a teacher is a model name in MMPretrain's index, such as ``'resnet50_8xb32_in1k'``."""
    return isinstance(teacher, str) and not teacher.endswith('.py') and teacher.lower() in list_models()


def _nearest(name: str) -> str:
    return ', '.join(get_close_matches(name, list_models(), n=3)) or 'none'


def published_weights(teacher: dict | str) -> str | None:
    """Return the URL of a teacher's weights if it is named in MMPretrain's index, else None."""
    return ModelHub.get(teacher).weights if _is_name(teacher) else None


def _loads_weights(config: Any) -> bool:
    """Return True if a config loads weights itself: ``pretrained=...`` or an ``init_cfg`` of type ``Pretrained``."""
    if isinstance(config, dict):
        if (
            config.get('pretrained')
            or config.get('checkpoint_path')
            or type_name(config) in ('Pretrained', 'PretrainedInit')
        ):
            return True
        return any(_loads_weights(value) for value in config.values())
    return isinstance(config, (list, tuple)) and any(_loads_weights(value) for value in config)
