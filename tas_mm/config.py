"""Reading configs, from files and from installed packages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import mmengine.hub
from mmengine.config import Config


def read_config(name: str) -> Config:
    """Read a config from a file or, as ``package::path``, from an installed package.

    Args:
        name (str): ``configs/tas/swin_to_r18.py``, ``tas_mm::tas/swin_to_r18.py``,
            ``mmpretrain::resnet/resnet18_8xb32_in1k.py``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no Python; with the line.
    """
    path = Config._get_cfg_path(name, '')[0] if '::' in name else name
    if not os.path.isfile(path):
        raise FileNotFoundError(f'config {name!r} does not exist (looked for {os.path.abspath(path)})')
    try:
        return Config.fromfile(path)
    except SyntaxError as error:
        raise ValueError(f'config {name!r} is no Python: {error}') from error


def named_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model's config, with that which it names by ``cfg_path`` (MMRazor's way) in place of the name.

    What stands beside the name is merged into what it names, and has the last word; MMEngine's ``get_model`` would take
    it for defaults and drop it. ``pretrained=True`` becomes an ``init_cfg`` with the published weights.

    Args:
        model (Mapping): Such as ``dict(cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=True)``; one
            with a ``type`` of its own is returned as it is.
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
    """A config that loads no weights: without ``pretrained`` and ``init_cfg`` of type ``Pretrained``."""
    if isinstance(config, Mapping):
        return {
            key: without_weights(value)
            for key, value in config.items()
            if not (key in ('pretrained', 'checkpoint_path') or (key == 'init_cfg' and 'Pretrained' in str(value)))
        }
    return [without_weights(value) for value in config] if isinstance(config, list) else config
