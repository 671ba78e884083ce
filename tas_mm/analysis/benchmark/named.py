"""Configs by name, with options behind plus signs: of a pair, of a method on a pair, or of MMRazor's own step."""

from __future__ import annotations

from copy import deepcopy

import yaml
from mmengine.config import Config

from tas_mm.config import named_model, read_config
from tas_mm.models.teachers import teacher_config
from tas_mm.recipes.methods import find_method, put_method

from ..trial import build_model

PLAIN = 'mmrazor:'
"""Prefix of methods that run in MMRazor's own algorithm and distiller."""


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
        try:
            put_method(cfg, find_method(name))
        except ValueError as error:
            raise ValueError(f'{text}: {error}') from error
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
