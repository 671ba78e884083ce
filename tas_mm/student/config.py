"""The student's config, taken from a distillation's and made independent of tas_mm and MMRazor."""

from __future__ import annotations

import ast
import logging
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import Registry
from mmrazor.registry import MODELS as RAZOR_MODELS

from tas_mm.config import named_model, registered_name, type_name, without_weights
from tas_mm.models.backbones import SwinTransformer
from tas_mm.registry import DATASETS, MODELS

PACKAGES = dict(tas_mm=ChainMap(MODELS.module_dict, DATASETS.module_dict), mmrazor=RAZOR_MODELS.module_dict)
"""Packages that a student should not need, with the names that they register."""
PLAIN = (*PACKAGES, 'mmpretrain', 'mmengine', None)
"""Scopes that a student does not need."""


def student_model(config: Config) -> dict:
    """Return the student's model config with its preprocessor, or that of the only network without a distillation.

    Args:
        config (Config): Config of a run.
    """
    model = config.model.to_dict()
    outer = config.get('data_preprocessor')
    if 'architecture' not in model:
        if outer:
            model.setdefault('data_preprocessor', outer.to_dict())
        return model
    student, given = model['architecture'], model.get('data_preprocessor')
    ours = type_name(model) in ('TAS', 'DetectorTAS', 'SegmentorTAS')
    outer = given or (outer.to_dict() if outer else None)
    if 'cfg_path' in student and not ours:  # MMRazor ignores options beside it
        student = named_model(dict(cfg_path=student['cfg_path']))
    # MMRazor prefers the algorithm's preprocessor, TAS prefers the student's.
    if outer and not (ours and student.get('data_preprocessor')):
        student = {**student, 'data_preprocessor': outer}
    student = named_model(student)
    scope = student.get('_scope_') or model.get('_scope_') or config.get('default_scope')
    return {**student, '_scope_': scope} if scope else student


def student_config(config: Config) -> Config:
    """Return a config from which plain MMPretrain builds and tests a student.

    Args:
        config (Config): Config of a distillation or of a single network.

    Returns:
        Config: ``model``, ``data_preprocessor`` and, if the config has them, ``test_*``, in MMPretrain's scope. Without
            ``test_dataloader`` also the distiller's ``input_size``, if it is given, since no pipeline names it.

    Raises:
        ValueError: If the config does not have a ``model``.

    Examples:
        >>> from mmengine import Config
        >>> from tas_mm.recipes.sources import classifier_config
        >>> from tas_mm.student import student_config
        >>> student_config(Config(dict(model=classifier_config('timm:resnet18')))).model.type
        'TimmClassifier'
    """
    if 'model' not in config:
        raise ValueError(f'{config.filename or "its config"} has no `model`')
    scope = config.get('default_scope') or 'mmpretrain'
    model = _portable(without_weights(student_model(config)), scope)
    exported: dict[str, Any] = dict(default_scope='mmpretrain' if scope in (*PACKAGES, 'mmengine') else scope)
    if preprocessor := model.pop('data_preprocessor', None):
        exported['data_preprocessor'] = preprocessor
    exported['model'] = model
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        if config.get(key) is not None:
            exported[key] = _portable(Config({key: config[key]}).to_dict()[key], scope)
    size = (config.model.get('distiller') or {}).get('input_size')
    if size and 'test_dataloader' not in exported:
        exported['input_size'] = size
    if exported.get('test_cfg'):
        exported['test_cfg'].pop('type', None)  # MMRazor's loop or ours, which needs a teacher
    if imported := _needed_imports(config, exported):
        exported['custom_imports'] = dict(imports=imported)
    return Config(exported)


def _needed_imports(config: Config, exported: Mapping[str, Any]) -> list[str]:
    """Return the entries of ``custom_imports`` that register a part of the student or of its test."""
    given = (config.get('custom_imports') or {}).get('imports') or []
    given = [given] if isinstance(given, str) else given
    given = [name for name in given if name.split('.')[0] not in PACKAGES]
    used = {kind.split('.')[-1] for kind in _types(exported)}
    needed = set()
    for module in {cls.__module__ for name, cls in _registered() if name in used}:
        around = {name for name in given if f'{module}.'.startswith(f'{name}.')}
        # If no entry contains the module, another module of its package may have imported it.
        needed |= around or {name for name in given if name.split('.')[0] == module.split('.')[0]}
    return [name for name in given if name in needed]


def _types(config: Any) -> Iterator[str]:
    """Yield every ``type`` in a config that is a name."""
    if isinstance(config, Mapping):
        if isinstance(config.get('type'), str):
            yield config['type']
        config = config.values()
    if not isinstance(config, (str, bytes)) and hasattr(config, '__iter__'):
        for value in config:
            yield from _types(value)


def _registered() -> Iterator[tuple[str, Any]]:
    """Yield name and class of everything in MMEngine's registries and their children."""
    pending = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
    while pending:
        registry = pending.pop()
        yield from registry.module_dict.items()
        pending.extend(registry.children.values())


def _portable(node: Any, scope: str | None) -> Any:
    """Move a part of a config to MMPretrain's scope. Names that tas_mm and MMRazor register get their prefix."""
    if isinstance(node, (list, tuple)):
        return type(node)(_portable(value, scope) for value in node)
    if not isinstance(node, Mapping):
        return node
    scope = node.get('_scope_', scope)
    kind = registered_name(node['type']) if 'type' in node else None
    node = {key: _portable(value, scope) for key, value in node.items() if key != '_scope_' or scope not in PLAIN}
    if isinstance(kind, str):
        if kind in PACKAGES.get(scope, ()):
            kind = f'{scope}.{kind}'
        elif scope in PLAIN:  # other scopes, such as MMDetection's, need the prefix
            kind = kind.removeprefix('mmpretrain.')
        node['type'] = kind
        if kind == 'tas_mm.SwinTransformer':
            node = SwinTransformer.plain_config(node)
    return node


def components(config: Any) -> Iterator[str]:
    """Yield the names that a model config takes from tas_mm or MMRazor, such as ``'tas_mm.ConvStem'``."""
    if isinstance(config, Mapping):
        config = config.values()
    if isinstance(config, str):
        if config.split('.')[0] in PACKAGES and '.' in config:
            yield config
    elif not isinstance(config, (bytes, int, float, type(None))) and hasattr(config, '__iter__'):
        for value in config:
            yield from components(value)


def warn_of_components(config: Config, file: str) -> None:
    """Warn about components without which plain MMPretrain cannot build a student.

    Args:
        config (Config): The student's config.
        file (str): The student's file.
    """
    for name in sorted(set(components(config.model.to_dict()))):
        print_log(
            f'{file} needs {name}, which MMPretrain does not have. Run `import {name.split(".")[0]}` before loading it',
            logger='current',
            level=logging.WARNING,
        )


def config_from_text(text: str) -> Config:
    """Read a config that came with a checkpoint. It must contain only values, not code.

    Args:
        text (str): The config.

    Raises:
        ValueError: If it contains code.
    """
    plain: tuple[type, ...] = (ast.Module, ast.Assign, ast.expr_context, ast.Constant, ast.List, ast.Tuple, ast.Dict)
    plain += (ast.Set, ast.keyword, ast.UnaryOp, ast.USub)
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError as error:
        raise ValueError(
            f'its config cannot be read, line {error.lineno}. Give the config of the run with --config'
        ) from error
    for node in nodes:
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ('dict', 'set')
        if not (called or isinstance(node, (*plain, ast.Name))):
            raise ValueError(
                f'its config has more than values, in line {getattr(node, "lineno", "?")}. Give the config of the run '
                'with --config'
            )
    return Config.fromstring(text, '.py')
