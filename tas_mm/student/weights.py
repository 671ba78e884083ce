"""The student's weights, taken from a distillation's checkpoint and named as in plain MMPretrain.

A checkpoint of a distillation names the student's weights ``architecture.*``. It also has the distiller's weights and,
if plain MMRazor wrote it, the teacher's. If a run averages its weights (EMA), ``state_dict`` contains the average:
MMEngine swaps the two when it saves.
"""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor

from tas_mm.config import read_config
from tas_mm.models.loading import read_checkpoint
from tas_mm.models.sources import source_of

from .config import config_from_text, student_config, student_model

PREFIX = 'architecture.'
OTHERS = ('teacher.', 'distiller.')
"""Prefixes of weights in MMRazor's checkpoints that are not the student's."""


def student_path(checkpoint: str) -> str:
    """Return the student's file beside a checkpoint: ``student_epoch_9.pth`` for ``epoch_9.pth``.

    Args:
        checkpoint (str): The checkpoint.

    Examples:
        >>> student_path('run/epoch_9.pth')
        'run/student_epoch_9.pth'
    """
    folder, name = osp.split(checkpoint)
    return osp.join(folder, f'student_{name}')


def student_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the student's part of a state dict, or all of it if it belongs to a single network.

    Args:
        state (mapping): Weights by name.

    Raises:
        ValueError: If it has a teacher or a distiller, but no student.

    Examples:
        >>> student_weights({'architecture.fc.bias': 1.0, 'distiller.scale': 2.0})
        {'fc.bias': 1.0}
    """
    student = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    if not student and (others := [key for key in state if key.startswith(OTHERS)]):
        raise ValueError(f'it has no student: no weight is named {PREFIX}*, but {others[0]!r} is there')
    return student or dict(state)


def student_checkpoint(checkpoint: Mapping[str, Any], config: Config | None = None) -> dict[str, Any]:
    """Return a checkpoint of only the student.

    Args:
        checkpoint (mapping): A checkpoint of a distillation (TAS or plain MMRazor), or of a single network.
        config (Config, optional): Config from :func:`student_config`. Defaults to None: no config in the file.

    Returns:
        dict: ``meta`` (``cfg``, ``dataset_meta`` with the classes, ``epoch``, ``iter``, ...) and ``state_dict``. All of
        it is plain values and tensors, which ``torch.load(weights_only=True)`` reads.

    Raises:
        ValueError: If it has no student.

    Examples:
        >>> student_checkpoint(dict(state_dict={'architecture.fc.bias': 1.0}))['state_dict']
        {'fc.bias': 1.0}
    """
    before = checkpoint.get('meta', {})
    meta = {key: before[key] for key in ('epoch', 'iter', 'time', 'mmengine_version') if key in before}
    classes = (before.get('dataset_meta') or {}).get('classes')  # None for a data set with metainfo=None
    meta['dataset_meta'] = dict(classes=tuple(map(str, classes))) if classes is not None else {}
    state = student_weights(checkpoint.get('state_dict', checkpoint))
    if config is not None:
        meta['cfg'] = config.pretty_text
        # Inside another module, MMPretrain's wrappers keep this prefix. On their own they remove it.
        prefix = source_of(config.model).prefix
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(meta=meta, state_dict=state)


def read_student(path: str, config: str | None = None) -> dict[str, Any]:
    """Read the student from a checkpoint file; see :func:`student_checkpoint`.

    Args:
        path (str): A checkpoint of a distillation (TAS or plain MMRazor) or of a single network, or a student's file.
        config (str, optional): Config of the run. Defaults to None: the one in the checkpoint.

    Raises:
        FileNotFoundError: If one of the files does not exist.
        ValueError: If the file has no student or no config.

    Examples:
        >>> import tempfile, torch
        >>> from tas_mm.recipes.sources import build_classifier, classifier_config
        >>> from tas_mm.student import build_student, read_student
        >>> config = Config(dict(model=classifier_config('timm:resnet18'))).pretty_text
        >>> file = tempfile.mkdtemp() + '/epoch_1.pth'
        >>> weights = build_classifier('timm:resnet18').state_dict()
        >>> torch.save(dict(meta=dict(cfg=config), state_dict=weights), file)
        >>> build_student(read_student(file))(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 10])
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'checkpoint {path!r} does not exist (relative to {Path.cwd()})')
    checkpoint = read_checkpoint(path)
    text = checkpoint.get('meta', {}).get('cfg')
    if config is None and not text:
        raise ValueError('it has no config. Give the config of the run with --config')
    whole = read_config(config) if config is not None else config_from_text(text)
    return student_checkpoint(checkpoint, student_config(whole))


def build_student(checkpoint: Mapping[str, Any]) -> BaseModel:
    """Build a student and load all of its weights.

    Args:
        checkpoint (mapping): The student, from :func:`read_student`.

    Returns:
        BaseModel: The student in eval mode.

    Raises:
        ValueError: If weights and config do not fit.
    """
    config = Config.fromstring(checkpoint['meta']['cfg'], '.py')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(student_model(config))
    try:
        model.load_state_dict(dict(checkpoint['state_dict']))
    except RuntimeError as error:
        raise ValueError(
            f'weights and config of the student do not fit: {str(error).splitlines()[1].strip()}'
        ) from error
    return model.eval()
