"""The student by itself: its weights and its config out of a distillation's, as plain MMPretrain knows them.

A checkpoint of a distillation names the student's weights ``architecture.*``, beside the distiller's, and in one of
plain MMRazor the teacher's. Where a run keeps an average of its weights (EMA), ``state_dict`` holds the average:
MMEngine exchanges the two when it saves.
"""

from __future__ import annotations

import ast
import logging
import os.path as osp
from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor

from .config import named_model, read_config, without_weights
from .models.backbones import SwinTransformer
from .registry import DATASETS, MODELS

PREFIX = 'architecture.'
OTHERS = ('teacher.', 'distiller.')
"""What MMRazor's checkpoints hold beside the student."""
SOURCES = dict(tas_mm=ChainMap(MODELS.module_dict, DATASETS.module_dict), mmrazor=RAZOR_MODELS.module_dict)
"""Packages without which a student should get along, and the names that they register."""


def student_path(checkpoint: str) -> str:
    """The file of the student beside a checkpoint: ``epoch_9.pth`` gives ``student_epoch_9.pth``."""
    folder, name = osp.split(checkpoint)
    return osp.join(folder, f'student_{name}')


# ---- config ---------------------------------------------------------------------------------------------------------


def student_model(config: Config) -> dict:
    """The model config of the student, or of the only network where there is no distillation, with its preprocessor."""
    model = config.model.to_dict()
    outer = config.get('data_preprocessor')
    if 'architecture' not in model:
        if outer:
            model.setdefault('data_preprocessor', outer.to_dict())
        return model
    student, given = model['architecture'], model.get('data_preprocessor')
    ours = str(model['type']).split('.')[-1] in ('TAS', 'DetectorTAS')
    outer = given or (outer.to_dict() if outer else None)
    if 'cfg_path' in student and not ours:  # what stands beside it, MMRazor drops
        student = named_model(dict(cfg_path=student['cfg_path']))
    # MMRazor prefers the algorithm's preprocessor to the student's, TAS the student's.
    if outer and not (ours and student.get('data_preprocessor')):
        student = {**student, 'data_preprocessor': outer}
    student = named_model(student)
    scope = student.get('_scope_') or model.get('_scope_') or config.get('default_scope')
    return {**student, '_scope_': scope} if scope else student


def student_config(config: Config) -> Config:
    """What plain MMPretrain needs to build a student and to test it.

    Args:
        config (Config): Of a distillation, or of a network alone.

    Returns:
        Config: ``model``, ``data_preprocessor`` and, where there are, ``test_*``; no scope of tas_mm or MMRazor in it.

    Raises:
        ValueError: If it has no ``model``.
    """
    if 'model' not in config:
        raise ValueError(f'{config.filename or "its config"} has no `model`')
    scope = config.get('default_scope') or 'mmpretrain'
    model = _portable(without_weights(student_model(config)), scope)
    exported = dict(default_scope='mmpretrain' if scope in (*SOURCES, 'mmengine') else scope)
    if preprocessor := model.pop('data_preprocessor', None):
        exported['data_preprocessor'] = preprocessor
    exported['model'] = model
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        if config.get(key) is not None:
            exported[key] = _portable(Config({key: config[key]}).to_dict()[key], scope)
    if exported.get('test_cfg'):
        exported['test_cfg'].pop('type', None)  # a loop of MMRazor's or ours, which knows of teacher and student
    imports = config.get('custom_imports') or dict(imports=[])
    imported = imports['imports'] if isinstance(imports['imports'], (list, tuple)) else [imports['imports']]
    if imported := [name for name in imported if name.split('.')[0] not in SOURCES]:
        exported['custom_imports'] = dict(imports=imported)
    return Config(exported)


def _portable(node: Any, scope: str | None) -> Any:
    """A part of a config in MMPretrain's scope: what tas_mm and MMRazor register is named in full, or spelled out."""
    if isinstance(node, (list, tuple)):
        return type(node)(_portable(value, scope) for value in node)
    if not isinstance(node, Mapping):
        return node
    scope = node.get('_scope_', scope)
    kind = node.get('type')
    node = {
        key: _portable(value, scope)
        for key, value in node.items()
        if key != '_scope_' or scope not in (*SOURCES, 'mmpretrain', 'mmengine', None)
    }
    if isinstance(kind, str):
        if kind in SOURCES.get(scope, ()):
            kind = f'{scope}.{kind}'
        elif scope in (*SOURCES, 'mmpretrain', 'mmengine', None):  # and not, say, MMDetection's, which needs the prefix
            kind = kind.removeprefix('mmpretrain.')
        node['type'] = kind
        if kind == 'tas_mm.SwinTransformer':  # MMPretrain's, but for the names of its sizes
            arch = node.get('arch', 'tiny')
            sizes = SwinTransformer.arch_zoo[arch.lower()] if isinstance(arch, str) else arch
            node.update(type='SwinTransformer', arch=sizes)
    return node


def components(config: Any) -> Iterator[str]:
    """The names of what a model config takes from tas_mm or MMRazor, such as ``'tas_mm.ConvStem'``."""
    if isinstance(config, Mapping):
        config = config.values()
    if isinstance(config, str):
        if config.split('.')[0] in SOURCES and '.' in config:
            yield config
    elif not isinstance(config, (bytes, int, float, type(None))) and hasattr(config, '__iter__'):
        for value in config:
            yield from components(value)


def warn_of_components(config: Config, file: str) -> None:
    """Say aloud what keeps plain MMPretrain from building a student."""
    for name in sorted(set(components(config.model.to_dict()))):
        print_log(
            f'{file} needs {name}, which MMPretrain has not: `import {name.split(".")[0]}` before it is loaded',
            logger='current',
            level=logging.WARNING,
        )


# ---- weights --------------------------------------------------------------------------------------------------------


def student_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The student's part of a state dict, or all of it where there is no other.

    Raises:
        ValueError: If there is a teacher or a distiller in it, but no student.
    """
    student = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    if not student and (others := [key for key in state if key.startswith(OTHERS)]):
        raise ValueError(f'there is no student in it: no weight is called {PREFIX}*, though {others[0]!r} is there')
    return student or dict(state)


def student_checkpoint(checkpoint: Mapping[str, Any], config: Config | None = None) -> dict[str, Any]:
    """A checkpoint of the student alone.

    Args:
        checkpoint (mapping): A checkpoint of a distillation, of TAS or plain MMRazor; or of a network alone.
        config (Config, optional): As ``student_config`` gives it. Defaults to None: no config in the file.

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
        # Inside another module MMPretrain's TimmClassifier keeps this prefix, which it drops when it is alone.
        if config.model.type == 'TimmClassifier' and all(key.startswith('model.') for key in state):
            state = {key.removeprefix('model.'): value for key, value in state.items()}
    return dict(meta=meta, state_dict=state)


def read_student(path: str, config: str | None = None) -> dict[str, Any]:
    """The student of a checkpoint file, as ``student_checkpoint`` gives it.

    Args:
        path (str): A checkpoint of a distillation (of TAS or plain MMRazor) or of a network alone, or a student's file.
        config (str, optional): The config of the run. Defaults to None: the one that the checkpoint carries.

    Raises:
        FileNotFoundError: If one of the two does not exist.
        ValueError: If there is no student or no config in the file.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'checkpoint {path!r} does not exist (looked from {Path.cwd()})')
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    text = checkpoint.get('meta', {}).get('cfg')
    if config is None and not text:
        raise ValueError('it carries no config: name that of the run with --config')
    whole = read_config(config) if config is not None else _read_values(text)
    return student_checkpoint(checkpoint, student_config(whole))


def _read_values(text: str) -> Config:
    """Read a config that came with a checkpoint. Configs are Python, so it may hold values alone, and no code."""
    plain = (ast.Module, ast.Assign, ast.expr_context, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set)
    plain += (ast.keyword, ast.UnaryOp, ast.USub)
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError as error:
        raise ValueError(
            f'its config cannot be read, line {error.lineno}: name that of the run with --config'
        ) from error
    for node in nodes:
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ('dict', 'set')
        if not (called or isinstance(node, (*plain, ast.Name))):
            raise ValueError(
                f'its config holds more than values, in line {getattr(node, "lineno", "?")}: name that of the run '
                'with --config'
            )
    return Config.fromstring(text, '.py')


def build_student(checkpoint: Mapping[str, Any]) -> BaseModel:
    """Build a student and load its weights, all of them.

    Args:
        checkpoint (mapping): As ``read_student`` gives it.

    Returns:
        BaseModel: In eval mode.

    Raises:
        ValueError: If weights and config do not fit.
    """
    config = Config.fromstring(checkpoint['meta']['cfg'], '.py')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MMENGINE_MODELS.build(student_model(config))
    try:
        model.load_state_dict(dict(checkpoint['state_dict']))
    except RuntimeError as error:
        raise ValueError(
            f'weights and config of the student do not fit: {str(error).splitlines()[1].strip()}'
        ) from error
    return model.eval()
