"""Methods on a pair: the same networks, data and recipe with another distiller, or the student alone."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path

from mmengine.config import Config, ConfigDict

import tas_mm
from tas_mm.config import read_config, replace_distiller
from tas_mm.models.algorithms import TAS
from tas_mm.registry import MODELS
from tas_mm.student import student_model

ALONE = 'alone'
"""Name of the method that trains the student without a teacher."""

read_once = cache(read_config)


def methods() -> dict[str, str | None]:
    """List the methods by name: the files of ``configs/_base_/distillers``, and None for the student alone."""
    folder = Path(tas_mm.__file__).parent / '.mim/configs/_base_/distillers'
    return {ALONE: None} | {path.stem: str(path) for path in sorted(folder.glob('*.py'))}


def find_method(name: str) -> str | None:
    """Return the file of a method, or None for the student alone.

    Args:
        name (str): One of :func:`methods`, or a file of your own with ``distiller = dict(...)``.

    Raises:
        ValueError: If no method has this name.

    Examples:
        >>> from tas_mm.recipes.methods import find_method
        >>> find_method('alone') is None
        True
    """
    known = methods()
    if name in known:
        return known[name]
    if name.endswith('.py'):
        return name
    raise ValueError(f'unknown method {name!r}. Expected one of {", ".join(known)}, or a file with `distiller = ...`')


def put_method(config: Config, method: str | Mapping | None) -> None:
    """Give a pair another method, and change nothing else.

    Args:
        config (Config): Config of a distillation, changed in place.
        method (str | Mapping, optional): Config of a distiller, a file with one, or None for the student alone.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the config is not a distillation by TAS, or the file has no distiller.
    """
    kind = (config.get('model') or {}).get('type')
    if not _is_tas(config, kind):
        raise ValueError(f'{config.filename}: model.type={kind!r}. Expected a distillation, such as tas_mm.TAS')
    if method is None:
        config.model = ConfigDict(student_model(config))
        return
    if isinstance(method, str):
        chosen = read_once(method).get('distiller')
        if not isinstance(chosen, Mapping):
            raise ValueError(f'{method}: distiller={chosen!r}. Expected `distiller = dict(type=...)`')
        method = chosen
    replace_distiller(config, deepcopy(method))


def _is_tas(config: Config, kind: str | type | None) -> bool:
    with MODELS.switch_scope_and_registry(config.get('default_scope')) as registry:
        found = registry.get(kind) if isinstance(kind, str) else kind
    return isinstance(found, type) and issubclass(found, TAS)
