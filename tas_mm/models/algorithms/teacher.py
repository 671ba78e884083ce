"""The teacher: built or named by a config, with its weights, seeing images normalised its own way."""

from __future__ import annotations

import hashlib
import logging
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain import list_models
from mmpretrain.apis.model import ModelHub
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor, nn

from tas_mm.config import named_model, read_config, without_weights
from tas_mm.registry import MODELS

from ..stages import image_channels, logits_of


@MODELS.register_module()
class ModuleTeacher(BaseModel):
    """Any ``nn.Module`` that gives logits, as a teacher.

    Args:
        model (dict | nn.Module): The module, or its config, of a class in MMEngine's registry ``MODELS``. It takes
            images ``(B, C, H, W)`` and gives logits ``(B, num_classes)``, alone, as ``.logits`` or first in a tuple.
        data_preprocessor (dict, optional): Its ``mean`` and ``std`` say how it wants images normalised. Defaults to
            None: as the student does.
    """

    def __init__(self, model: dict | nn.Module, data_preprocessor: dict | None = None) -> None:
        if data_preprocessor is not None:
            data_preprocessor = {'type': 'mmpretrain.ClsDataPreprocessor', **data_preprocessor}
        super().__init__(data_preprocessor)
        self.model = RAZOR_MODELS.build(model) if isinstance(model, dict) else model
        self._is_init = True  # by its own constructor

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> Tensor:
        """Its logits ``(B, num_classes)``, whatever the mode: a teacher is asked for nothing else."""
        return logits_of(self.model(inputs))


def build_teacher(teacher: dict | str | nn.Module, checkpoint: str | None = None) -> BaseModel:
    """Build a teacher and load its weights.

    Args:
        teacher (dict | str | nn.Module): A model config, the path of a config, the name of a model in MMPretrain's
            index, or a built model.
        checkpoint (str, optional): File or URL of its weights. Defaults to None: of a named model the published ones,
            of others those that the config loads by itself.

    Raises:
        TypeError: If ``teacher`` is none of these.
        FileNotFoundError: If ``checkpoint`` is a file that does not exist.
        ValueError: If the weights cannot be read or do not fit.
    """
    if not isinstance(teacher, (dict, str, nn.Module)):
        raise TypeError(
            f'model.teacher={teacher!r}, but it must be a model config, the path of a config, the name of one of '
            "MMPretrain's models, or a built model"
        )
    if checkpoint and '://' not in checkpoint and not os.path.isfile(os.path.expanduser(checkpoint)):
        raise FileNotFoundError(
            f'model.teacher_ckpt={checkpoint!r} does not exist (looked from {Path.cwd()}); name a file or URL with the '
            "teacher's weights"
        )
    if isinstance(teacher, nn.Module):
        has_weights = ready = True
    else:
        config = teacher_config(teacher)
        checkpoint = checkpoint or _published_weights(teacher)
        has_weights = bool(checkpoint) or _loads_weights(config)
        if checkpoint:  # which takes the place of other weights: those need not be fetched
            config = {key: value for key, value in config.items() if key != 'pretrained'}
        teacher = RAZOR_MODELS.build(named_model(config))
        ready = not isinstance(teacher, BaseModel) or getattr(teacher, '_is_init', False)
    if not isinstance(teacher, BaseModel):
        teacher = ModuleTeacher(teacher)
    if checkpoint:
        _load(teacher.model if isinstance(teacher, ModuleTeacher) else teacher, checkpoint)
    elif not ready:
        teacher.init_weights()
    if not has_weights:
        print_log(
            'THE TEACHER HAS NO TRAINED WEIGHTS: model.teacher_ckpt is not set and its config loads none. A student '
            'distilled from a random teacher learns nothing from it. Set model.teacher_ckpt to a file or URL.',
            logger='current',
            level=logging.WARNING,
        )
    return teacher


def teacher_config(teacher: dict | str) -> dict:
    """The model config of a teacher that may be named by the path of its config or in MMPretrain's index.

    It has its preprocessor with it. That of a named model loads no weights: the published ones come as a checkpoint.
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
            more = '' if teacher.endswith('.py') else f", or one of MMPretrain's models; nearest: {_nearest(teacher)}"
            raise FileNotFoundError(
                f'model.teacher={teacher!r}: {error}; name a config file, or one of a package as mmpretrain::PATH{more}'
            ) from None
    model = config.model
    if 'data_preprocessor' in config:
        model.setdefault('data_preprocessor', config.data_preprocessor)
    model.setdefault('_scope_', config.get('default_scope', 'mmpretrain'))
    return model


def _is_name(teacher: dict | str) -> bool:
    """Whether a teacher is one of MMPretrain's models by name, such as ``'resnet50_8xb32_in1k'``."""
    return isinstance(teacher, str) and not teacher.endswith('.py') and teacher.lower() in list_models()


def _nearest(name: str) -> str:
    return ', '.join(get_close_matches(name, list_models(), n=3)) or 'none'


def _published_weights(teacher: dict | str) -> str | None:
    """Where the weights lie of a model that is named in MMPretrain's index."""
    return ModelHub.get(teacher).weights if _is_name(teacher) else None


def _loads_weights(config: Any) -> bool:
    """Whether a config loads weights by itself: ``pretrained=...`` or an ``init_cfg`` of type ``Pretrained``."""
    if isinstance(config, dict):
        if config.get('pretrained') or config.get('checkpoint_path') or config.get('type') == 'Pretrained':
            return True
        return any(_loads_weights(value) for value in config.values())
    return isinstance(config, (list, tuple)) and any(_loads_weights(value) for value in config)


def _load(teacher: BaseModel, checkpoint: str) -> None:
    """Load weights: of MMEngine, of timm, or of the student of an earlier distillation.

    Every parameter and every running statistic must be there. Other buffers, which older checkpoints lack, keep their
    values.
    """
    key = f'model.teacher_ckpt={checkpoint!r}'
    try:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='current')
        state = loaded.get('state_dict', loaded.get('model', loaded))
        state = {name.removeprefix('module.'): value for name, value in state.items()}
    except Exception as error:
        raise ValueError(f'{key} cannot be read as a checkpoint: {type(error).__name__}: {error}') from error
    student = {name.removeprefix('architecture.'): v for name, v in state.items() if name.startswith('architecture.')}
    state = student or state
    try:
        result = teacher.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:  # shapes differ
        raise ValueError(
            f'{key} does not fit model.teacher: {error}. If the class counts differ, fine-tune the teacher on your '
            'data first'
        ) from error
    parameters = {name for name, _ in teacher.named_parameters()}
    missing = [n for n in result.missing_keys if n in parameters or n.endswith(('running_mean', 'running_var'))]
    if missing:
        raise ValueError(
            f'{key} does not fit model.teacher: {len(missing)} of its parameters and statistics are not in the file, '
            f'such as {missing[0]!r}; the file has such as {next(iter(state), "none at all")!r}'
        )
    spoilt = [n for n, x in state.items() if n in parameters and not x.isfinite().all()]
    if spoilt:
        raise ValueError(
            f'{key} holds weights that are not finite (NaN or infinity), such as {spoilt[0]!r}: its training failed. '
            'Take an earlier checkpoint of it'
        )
    if result.unexpected_keys:
        print_log(
            f'{key}: {len(result.unexpected_keys)} of its entries have no place in model.teacher, such as '
            f'{result.unexpected_keys[0]!r}',
            logger='current',
            level=logging.WARNING,
        )


def fingerprint(teacher: nn.Module) -> str:
    """A hash of a network's weights: names, types, shapes and bytes of all that it saves (BLAKE2b, 16 hex digits)."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in teacher.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def renormalisation(student: nn.Module, teacher: BaseModel) -> tuple[Tensor, Tensor] | None:
    """Scale and shift from images normalised for the student to the same images normalised for the teacher.

    Mean and std are in the units of the pixels (0 to 255 in MMPretrain). A timm teacher whose config names none is
    taken to want those of its pretrained tag; any other such teacher to want what the student wants. The order of the
    colours is taken to be the same, which is said aloud where the two configs differ.

    Args:
        student (nn.Module): The student's data preprocessor, with buffers ``mean`` and ``std`` of shape ``(C, 1, 1)``
            if it normalises.
        teacher (BaseModel): The teacher, with a data preprocessor likewise.

    Returns:
        tuple | None: Scale and shift, each ``(C, 1, 1)``; None if both normalise alike.
    """
    preprocessor = teacher.data_preprocessor
    wanted = _statistics(preprocessor) or _timm_statistics(teacher)
    if wanted is None:
        return None
    given = _statistics(student)
    if given is None:
        print_log(
            'data_preprocessor has no mean and std, so images are taken to be pixels from 0 to 255, and are normalised '
            'so for model.teacher. If the pipeline normalises them, do it in data_preprocessor instead',
            logger='current',
            level=logging.WARNING,
        )
        given = torch.zeros_like(wanted[0]), torch.ones_like(wanted[1])
    # Detectors' preprocessors know the order by another name.
    orders = [getattr(each, 'to_rgb', getattr(each, '_channel_conversion', None)) for each in (student, preprocessor)]
    if _statistics(preprocessor) is not None and orders[0] != orders[1]:
        print_log(
            f'data_preprocessor.to_rgb={orders[0]} (of a detector: bgr_to_rgb) for the student and {orders[1]} for '
            "model.teacher. Both are taken to want RGB, which the data set of the one may give, but not the other's.",
            logger='current',
            level=logging.WARNING,
        )
    if torch.equal(given[0], wanted[0]) and torch.equal(given[1], wanted[1]):
        return None
    return given[1] / wanted[1], (given[0] - wanted[0]) / wanted[1]


def _statistics(preprocessor: nn.Module) -> tuple[Tensor, Tensor] | None:
    return (preprocessor.mean, preprocessor.std) if hasattr(preprocessor, 'mean') else None


def _timm_statistics(model: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Mean and std of a timm network's pretrained tag, in the units of the pixels."""
    tags = (getattr(module, 'pretrained_cfg', None) for module in model.modules())
    tag = next((tag for tag in tags if isinstance(tag, dict) and tag.get('mean') and tag.get('std')), None)
    if tag is None:
        return None
    statistics = [255 * torch.tensor(tag[key]).view(-1, 1, 1) for key in ('mean', 'std')]
    if image_channels(model) == 1:  # the tag is that of the network for colour images
        statistics = [each.mean(dim=0, keepdim=True) for each in statistics]
    return tuple(statistics)
