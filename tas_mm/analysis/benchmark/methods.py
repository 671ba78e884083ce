"""Methods on a pair: the same config with another distiller."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path

import yaml
from mmengine.config import Config

import tas_mm
from tas_mm.config import named_model, read_config
from tas_mm.models.teachers import teacher_config

from ..trial import build_model

PLAIN = 'mmrazor:'
"""Prefix of methods that run in MMRazor's own algorithm and distiller."""

read_once = cache(read_config)


def methods() -> dict[str, str | dict]:
    """List the methods in ``configs/_base_/distillers`` by name, and the paper's as ``tas``."""
    folder = Path(tas_mm.__file__).parent / '.mim/configs/_base_/distillers'
    return {path.stem: str(path) for path in sorted(folder.glob('*.py'))} | {'tas': dict(type='tas_mm.TASDistiller')}


def put_distiller(cfg: Config, distiller: str | dict) -> None:
    """Replace the distiller of a pair's config, and nothing else.

    Args:
        cfg (Config): Config of the pair, whose model is a ``tas_mm.TAS``.
        distiller (str | dict): Config of a distiller, or a file with one.
    """
    chosen = deepcopy(read_once(distiller).distiller) if isinstance(distiller, str) else distiller
    # Keep the image size, which two CNNs do not declare.
    size = {key: value for key, value in cfg.model.get('distiller', {}).items() if key == 'input_size'}
    cfg.model.distiller = dict(chosen, **size)


def named_config(text: str, pair: str | None = None) -> Config:
    """Read the config named by ``'CONFIG+KEY=VALUE'``, or, on a pair, by ``'METHOD+KEY=VALUE'``.

    Args:
        text (str): Config or method, with options of the config after plus signs. The prefix ``mmrazor:`` runs the same
            networks and losses in MMRazor's own algorithm.
        pair (str, optional): Config of a pair. If given, ``text`` is the name of a method. Defaults to None.

    Raises:
        ValueError: If the method is unknown, or an option is not of the form KEY=VALUE.
    """
    name, *options = text.removeprefix(PLAIN).split('+')
    cfg = read_config(pair or name)
    if pair:
        known = methods()
        if name not in known:
            raise ValueError(f'{text}: unknown method {name!r}. Expected one of {", ".join(known)}')
        put_distiller(cfg, known[name])
    for option in options:
        key, equals, value = option.partition('=')
        if not equals:
            raise ValueError(f'{text}: {option!r} is not an option. Expected KEY=VALUE')
        cfg.merge_from_dict({key: yaml.safe_load(value)})
    return _plain_mmrazor(cfg) if text.startswith(PLAIN) else cfg


def _plain_mmrazor(cfg: Config) -> Config:
    """Return a config with the same networks, recorders and losses in MMRazor's own algorithm and distiller."""
    explicit = _with_label_recorder(build_model(cfg).distiller.razor_config())
    student, teacher = (named_model(teacher_config(cfg.model[role])) for role in ('architecture', 'teacher'))
    model = dict(
        type='SingleTeacherDistill',
        _scope_='mmrazor',
        architecture=dict(student, _scope_='mmpretrain'),
        teacher=dict(teacher, _scope_='mmpretrain'),
        distiller=dict(type='ConfigurableDistiller', **explicit),
        data_preprocessor={'type': 'mmpretrain.ClsDataPreprocessor', **cfg.get('data_preprocessor', {})},
    )
    return Config(dict(cfg, model=model))


def _with_label_recorder(explicit: dict) -> dict:
    """Record the labels from the head's call of its loss, because MMRazor's distiller does not read data samples."""
    explicit = deepcopy(explicit)
    wanted = [mapping for mapping in explicit['loss_forward_mappings'].values() if 'gt_labels' in mapping]
    for mapping in wanted:
        mapping['gt_labels']['data_idx'] = 1
    if wanted:
        explicit['student_recorders']['gt_labels'] = dict(type='ModuleInputs', source='head.loss_module')
    return explicit
