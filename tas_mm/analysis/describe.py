"""Tables of a pair before training: the cuts of both networks, the parts of the assistant, and their costs."""

from __future__ import annotations

import torch
from mmengine.config import Config
from torch import Tensor

from tas_mm.config import channel_order
from tas_mm.models import TAS
from tas_mm.models.distillers import interface_of
from tas_mm.models.stages import StageView
from tas_mm.models.utils import Grid

from .costs import HEADER, cost_rows
from .tables import Rows

TURNED = dict(rgb='bgr', bgr='rgb')


def describe(algorithm: TAS, config: Config | None = None) -> dict[str, tuple[tuple[str, ...], Rows]]:
    """Describe a pair in tables: title to header and rows.

    Args:
        algorithm (TAS): A distillation from one teacher.
        config (Config, optional): Config of the run, which determines how images are read. Defaults to None.
    """
    interface = interface_of(algorithm)
    tables: dict[str, tuple[tuple[str, ...], Rows]] = {}
    for role, view in (('teacher', interface.teacher_view), ('student', interface.student_view)):
        title = f'{role}: {type(view.net).__name__} ({view.family}), images of {_grid(view.input_size)}'
        tables[title] = (('stage', 'ends with', 'channels', 'grid'), cut_rows(view))
    tables['what each network sees'] = (('network', 'order', 'mean', 'std'), image_rows(algorithm, config))
    tables['assistant'] = (('of', 'modules'), assistant_rows(algorithm))
    if interface.left_out:
        tables['left out'] = (('loss', 'because'), list(interface.left_out.items()))
    tables['costs'] = (HEADER, cost_rows(algorithm))
    return tables


def cut_rows(view: StageView) -> Rows:
    """List source, channels and grid of the four stages, and the classifier, or the feature of a headless network."""
    rows = [(str(i), s.source, str(s.channels), _grid(s.grid)) for i, s in enumerate(view.stages, 1)]
    if view.headless:
        return [*rows, ('feature', view.pooling.description, str(view.feature_dim), '-')]
    classes = '-' if view.num_classes is None else f'{view.num_classes} classes'
    return [*rows, ('head', view.classifier or 'none', str(view.feature_dim), classes)]


def image_rows(algorithm: TAS, config: Config | None = None) -> Rows:
    """List the order of channels, mean and std with which student and teacher see the images.

    The teacher's are computed from the transform of the student's images.

    Args:
        algorithm (TAS): A distillation from one teacher.
        config (Config, optional): Config of the run. Defaults to None.
    """
    preprocessor, teacher = algorithm.data_preprocessor, algorithm.teacher
    channels = interface_of(algorithm).student_view.in_channels
    to_rgb = bool(getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', False)))
    order = channel_order(config, 'train_dataloader', to_rgb, channels)
    mean = preprocessor.mean.flatten().cpu() if hasattr(preprocessor, 'mean') else torch.zeros(channels)
    std = preprocessor.std.flatten().cpu() if hasattr(preprocessor, 'mean') else torch.ones(channels)
    rows = [('student', order, _numbers(mean), _numbers(std))]
    if teacher.flip:
        mean, std, order = mean.flip(0), std.flip(0), TURNED.get(order, f'the reverse of: {order}')
    if teacher.scale is not None:
        std = std / teacher.scale.flatten().cpu()
        mean = mean - teacher.shift.flatten().cpu() * std
    return [*rows, ('teacher', order, _numbers(mean), _numbers(std))]


def assistant_rows(algorithm: TAS) -> Rows:
    """List the parts of the assistant in order: owner and modules."""
    assistant = interface_of(algorithm).assistant
    if assistant is None:
        return [('none', 'no loss needs an assistant')]
    given, wanted = assistant.early.stages[assistant.early_stages - 1], assistant.late.stages[assistant.start - 2]
    shapes = f'{given.channels} @ {_grid(given.grid)} to {wanted.channels} @ {_grid(wanted.grid)}'
    late = f'what follows {wanted.source}, {assistant.late_stages} of its stages and its head'
    return [
        (assistant.early_role, f'up to {given.source}, {assistant.early_stages} of its stages'),
        ('projector', f'{type(assistant.projector).__name__}, {shapes}'),
        (assistant.late_role, late),
    ]


def recorder_rows(algorithm: TAS) -> Rows:
    """List side, name, type and source of every recorder in MMRazor's form of the distiller."""
    config = algorithm.distiller.razor_config()
    return [
        (side, name, recorder['type'], recorder['source'])
        for side in ('student', 'teacher')
        for name, recorder in config[f'{side}_recorders'].items()
    ]


def loss_rows(algorithm: TAS, losses: dict[str, float]) -> Rows:
    """List name, type, weight and value of every loss.

    Args:
        algorithm (TAS): A distillation.
        losses (dict): What :func:`~tas_mm.analysis.trial.train_step` returned.
    """
    modules = dict(algorithm.distiller.distill_losses.items())
    rows: Rows = []
    for name, value in losses.items():
        module = modules.get(name.removeprefix('distill.'))
        kind = type(module).__name__ if module is not None else ''
        weight = f'{module.loss_weight:g}' if hasattr(module, 'loss_weight') else ''
        rows.append((name, kind, weight, f'{value:.4f}'))
    return rows


def _numbers(values: Tensor) -> str:
    return ', '.join(f'{value:.5g}' for value in values.tolist())


def _grid(grid: Grid) -> str:
    return f'{grid[0]}x{grid[1]}'
