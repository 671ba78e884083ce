"""Read configs, from files and installed packages, and what they say about a model and its images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import mmengine.hub
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.utils import get_object_from_string

SIZES = ('input_size', 'teacher_size')
"""Options of a distiller that belong to the pair, whatever its method."""


def read_config(name: str) -> Config:
    """Read a config from a file or, as ``package::path``, from an installed package.

    If one of its bases is a method, ``_base_ = [pair, method]``, that method takes the place of the pair's.

    Args:
        name (str): ``configs/tas/swin_to_r18.py``, ``tas_mm::tas/swin_to_r18.py``,
            ``mmpretrain::resnet/resnet18_8xb32_in1k.py``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not valid Python, and the error names the line. Or if the config has two methods.
    """
    path = Config._get_cfg_path(name, '')[0] if '::' in name else name
    if not os.path.isfile(path):
        raise FileNotFoundError(f'config {name!r} does not exist (looked for {os.path.abspath(path)})')
    try:
        config = Config.fromfile(path)
    except SyntaxError as error:
        raise ValueError(f'config {name!r} is not Python: {error}') from error
    _take_method_of_bases(config)
    return config


def _take_method_of_bases(config: Config) -> None:
    """Let ``distiller``, which a base has brought, take the place of a model's default one.

    A model that has its keys already has taken it, by ``model = dict(distiller=_base_.distiller)``, and may say more.
    """
    method, model = config.get('distiller'), config.get('model')
    if not isinstance(method, Mapping) or not isinstance(model, Mapping) or 'teacher' not in model:
        return
    given = model.get('distiller') or {}
    own = {key: value for key, value in given.items() if key not in SIZES} if isinstance(given, Mapping) else given
    if own in ({}, dict(type='tas_mm.TASDistiller')):
        replace_distiller(config, method)
    elif not isinstance(own, Mapping) or own.get('type') != method.get('type') or not method.keys() <= own.keys():
        raise ValueError(
            f'{config.filename}: model.distiller is a {type_name(own) if isinstance(own, Mapping) else "list"} with '
            f'options of its own, and the base `distiller` a {type_name(method)}. Give one of them, or '
            'model = dict(distiller=dict(_delete_=True, **_base_.distiller))'
        )


def replace_distiller(config: Config, distiller: Mapping[str, Any]) -> None:
    """Replace the distiller of a distillation, but for the sizes of the images, which belong to the pair.

    Args:
        config (Config): Config of a distillation, changed in place.
        distiller (Mapping): Config of the new distiller.
    """
    given = config.model.get('distiller')
    given = given if isinstance(given, Mapping) else {}
    sizes = {key: given[key] for key in SIZES if given.get(key) is not None}
    config.model.distiller = dict(distiller, **sizes)


def type_name(config: Mapping[str, Any]) -> str:
    """Return the class name in a config's ``type``, which may be a name, a name with a scope or a path, or a class.

    Args:
        config (Mapping): Any config. Without a ``type`` the name is empty.
    """
    kind = config.get('type') or ''
    return kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]


def registered_name(kind: str | type, scope: str | None = None) -> str:
    """Return the name under which a class is registered, with its package unless that is MMPretrain, MMEngine or MMCV.

    Args:
        kind (str | type): A class, its path (``'mmpretrain.models.ResNet'``), or a name, which is returned as it is.
        scope (str, optional): Scope in which a bare name is looked up. Defaults to None.
    """
    cls = kind if isinstance(kind, type) else None
    if isinstance(kind, str) and kind.count('.') > 1:
        cls = get_object_from_string(kind)
    if not isinstance(cls, type):
        return kind
    package = cls.__module__.split('.')[0]
    if package in ('mmpretrain', 'mmengine', 'mmcv'):
        return cls.__name__
    registered = package in ('tas_mm', 'mmrazor', 'mmdet', 'mmseg')
    return f'{package}.{cls.__name__}' if registered else f'{cls.__module__}.{cls.__qualname__}'


def innermost_datasets(dataset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the configs of the data sets inside wrappers, such as ``ConcatDataset`` and ``RepeatDataset``.

    Args:
        dataset (Mapping): Config of a data set.
    """
    inner = dataset.get('datasets') or ([dataset['dataset']] if isinstance(dataset.get('dataset'), Mapping) else [])
    return [found for each in inner for found in innermost_datasets(each)] or [dataset]


def has_labels(config: Config, loader: str = 'train_dataloader') -> bool:
    """Return True if any images of a loader have labels. Data sets have them unless ``with_label=False``.

    Args:
        config (Config): Config of a training run.
        loader (str): The loader. Defaults to ``'train_dataloader'``.
    """
    return any(dataset.get('with_label', True) for dataset in innermost_datasets(config[loader].dataset))


def channel_order(config: Config | None, loader: str, to_rgb: bool, channels: int = 3) -> str:
    """Return the channel order of the images that a network takes, in words.

    Args:
        config (Config, optional): Config of a training run or of a student, or None.
        loader (str): The loader that gives the images.
        to_rgb (bool): Whether the network's preprocessor reverses the order of the data set.
        channels (int): Number of channels. Defaults to 3.

    Returns:
        str: ``'rgb'``, ``'bgr'``, ``'gray'``, or ``'as the dataset gives them'`` (for example, CIFAR's arrays are RGB).
    """
    if channels != 3:
        return 'gray' if channels == 1 else 'as the dataset gives them'
    if to_rgb:
        return 'rgb'
    dataset = innermost_datasets(config[loader].dataset)[0] if config is not None and loader in config else {}
    reads_files = any(type_name(transform) == 'LoadImageFromFile' for transform in dataset.get('pipeline', []))
    return 'bgr' if reads_files else 'as the dataset gives them'


def transforms_of(config: Config, loader: str) -> list[Mapping[str, Any]]:
    """Return the transforms of a loader's pipeline after the loading of an image.

    Args:
        config (Config): Config of a training run or of a student.
        loader (str): The loader, such as ``'val_dataloader'``.

    Raises:
        ValueError: If the data set does not have a pipeline.
    """
    dataset = innermost_datasets(config[loader].dataset)[0]
    if 'pipeline' not in dataset:
        raise ValueError(
            f'{loader}.dataset: {type_name(dataset)} has no pipeline. Expected one in the innermost dataset'
        )
    return [transform for transform in dataset['pipeline'] if not type_name(transform).startswith('Load')]


def model_of(config: Config) -> dict[str, Any]:
    """Return the model of a config.

    Raises:
        ValueError: If the config does not have a model.
    """
    if not isinstance(config.get('model'), Mapping):
        raise ValueError(f'{config.filename} has no `model`. Expected the config of a network or of a distillation')
    return config.model.to_dict()


def named_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a model that is named by ``cfg_path`` (MMRazor's way) with its config.

    Options beside the name override those of the config, which MMEngine's ``get_model`` would ignore.
    ``pretrained=True`` becomes an ``init_cfg`` with the published weights.

    Args:
        model (Mapping): Model config, such as ``dict(cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py',
            pretrained=True)``. A config with a ``type`` is returned as it is.
    """
    model = dict(model)
    if not model.get('cfg_path') or model.get('type'):
        return model
    path, pretrained = model.pop('cfg_path'), model.pop('pretrained', False)
    named = mmengine.hub.get_config(path, pretrained)
    merged = Config(dict(model=dict(named.model, _scope_=path.split('::')[0])))
    if 'data_preprocessor' in named:
        merged.model.data_preprocessor = named.data_preprocessor
    if pretrained:
        merged.model.init_cfg = dict(type='Pretrained', checkpoint=named.model_path)
    merged.merge_from_dict(dict(model=model))
    return merged.model.to_dict()


def without_weights(config: Any) -> Any:
    """Remove the options of a config that load weights: ``pretrained``, and ``init_cfg`` of type ``Pretrained``."""
    if isinstance(config, Mapping):
        return {
            key: without_weights(value)
            for key, value in config.items()
            if not (key in ('pretrained', 'checkpoint_path') or (key == 'init_cfg' and 'Pretrained' in str(value)))
        }
    return [without_weights(value) for value in config] if isinstance(config, list) else config


def with_classes(config: Any, num_classes: int) -> Any:
    """Set every ``num_classes`` in a config."""
    if isinstance(config, Mapping):
        return {k: num_classes if k == 'num_classes' else with_classes(v, num_classes) for k, v in config.items()}
    return [with_classes(value, num_classes) for value in config] if isinstance(config, list) else config


def pipeline_size(config: Config, loader: str = 'train_dataloader') -> tuple[int, int] | None:
    """Return height and width of the images that a pipeline gives. None if it does not resize them.

    The pipeline runs on a blank image of 375x500 pixels.

    Args:
        config (Config): Config of a training run or of a student.
        loader (str): The loader with the pipeline. Defaults to ``'train_dataloader'``.
    """
    transforms = transforms_of(config, loader)
    size = (375, 500)
    blank = dict(img=np.zeros((*size, 3), np.uint8), img_shape=size, ori_shape=size, gt_label=0)
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmpretrain')):
        given = tuple(Compose(transforms)(blank)['inputs'].shape[-2:])
    return None if given == size else given
