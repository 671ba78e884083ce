"""The student's weights: out of a distillation's checkpoint, as plain MMPretrain names them.

A checkpoint of a distillation names the student's weights ``architecture.*``, beside the distiller's, and in one of
plain MMRazor the teacher's. If a run keeps an average of its weights (EMA), ``state_dict`` contains the average:
MMEngine exchanges the two when it saves.
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
"""What MMRazor's checkpoints contain beside the student."""


def student_path(checkpoint: str) -> str:
    """Return the student's file beside a checkpoint: ``student_epoch_9.pth`` for ``epoch_9.pth``.

    Args:
        checkpoint (str): The checkpoint.
    """
    folder, name = osp.split(checkpoint)
    return osp.join(folder, f'student_{name}')


def student_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the student's part of a state dict, or all of it if it is of one network.

    Args:
        state (mapping): Weights by name.

    Raises:
        ValueError: If it contains a teacher or a distiller, but no student.
    """
    student = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    if not student and (others := [key for key in state if key.startswith(OTHERS)]):
        raise ValueError(f'there is no student in it: no weight is called {PREFIX}*, though {others[0]!r} is there')
    return student or dict(state)


def student_checkpoint(checkpoint: Mapping[str, Any], config: Config | None = None) -> dict[str, Any]:
    """Return a checkpoint of the student alone.

    Args:
        checkpoint (mapping): A checkpoint of a distillation, of TAS or plain MMRazor; or of a network alone.
        config (Config, optional): Result of :func:`student_config`. Defaults to None: no config in the file.

    Returns:
        dict: ``meta`` (``cfg``, ``dataset_meta`` with the classes, ``epoch``, ``iter``, ...) and ``state_dict``, all of
        it plain values and tensors, which ``torch.load(weights_only=True)`` reads.

    Raises:
        ValueError: If there is no student in it.
    """
    before = checkpoint.get('meta', {})
    meta = {key: before[key] for key in ('epoch', 'iter', 'time', 'mmengine_version') if key in before}
    classes = (before.get('dataset_meta') or {}).get('classes')  # of a data set with metainfo=None it is None
    meta['dataset_meta'] = dict(classes=tuple(map(str, classes))) if classes is not None else {}
    state = student_weights(checkpoint.get('state_dict', checkpoint))
    if config is not None:
        meta['cfg'] = config.pretty_text
        # Inside another module MMPretrain's wrappers keep this prefix, which they drop when they are alone.
        prefix = source_of(config.model).prefix
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(meta=meta, state_dict=state)


def read_student(path: str, config: str | None = None) -> dict[str, Any]:
    """Read the student of a checkpoint file; see :func:`student_checkpoint`.

    Args:
        path (str): A checkpoint of a distillation (of TAS or plain MMRazor) or of a network alone, or a student's file.
        config (str, optional): The config of the run. Defaults to None: the one that the checkpoint carries.

    Raises:
        FileNotFoundError: If one of the two does not exist.
        ValueError: If there is no student or no config in the file.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'checkpoint {path!r} does not exist (relative to {Path.cwd()})')
    checkpoint = read_checkpoint(path)
    text = checkpoint.get('meta', {}).get('cfg')
    if config is None and not text:
        raise ValueError('it does not contain a config: name that of the run with --config')
    whole = read_config(config) if config is not None else config_from_text(text)
    return student_checkpoint(checkpoint, student_config(whole))


def build_student(checkpoint: Mapping[str, Any]) -> BaseModel:
    """Build a student and load its weights, all of them.

    Args:
        checkpoint (mapping): Result of :func:`read_student`.

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
