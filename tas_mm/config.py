"""Reading configs, from files and from installed packages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

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


def without_weights(config: Any) -> Any:
    """A config that loads no weights: without ``pretrained`` and ``init_cfg`` of type ``Pretrained``."""
    if isinstance(config, Mapping):
        return {
            key: without_weights(value)
            for key, value in config.items()
            if not (key in ('pretrained', 'checkpoint_path') or (key == 'init_cfg' and 'Pretrained' in str(value)))
        }
    return [without_weights(value) for value in config] if isinstance(config, list) else config
