"""Figures of assistants: the owner of each stage, the projector, and the shapes that pass between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tas_mm.models import TAS
from tas_mm.models.distillers import interface_of
from tas_mm.models.stages import Stage

from .canvas import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILLS = dict(teacher=COLORS[5], student=COLORS[4], projector='#FFFFFF')
ROWS = dict(teacher=2.0, assistant=1.0, student=0.0)
FAMILIES = dict(cnn='CNN', attention='attention', mlp='MLP')
WIDTH, HEIGHT = 0.88, 0.58
LEGEND = {
    "the teacher's": (FILLS['teacher'], '-'),
    "the student's": (FILLS['student'], '-'),
    'borrowed, not copied': ('#FFFFFF', '--'),
    'new': (FILLS['projector'], '-'),
}
HEAD = 5  # column of the head; stages are in 1 to 4, late ones further right because of the projector


def assistants_figure(algorithms: dict[str, TAS]) -> Figure:
    """Draw teacher, assistant and student of each distillation, stage by stage, each in its own panel.

    Args:
        algorithms (dict): Title to a distillation with an assistant.

    Raises:
        ValueError: If a distillation does not have an assistant.
    """
    from matplotlib.patches import Patch

    figure = new_figure(7.2, 2.3 * len(algorithms) + 0.7)
    panels = figure.subplots(len(algorithms), 1, squeeze=False)[:, 0]
    for axes, (title, algorithm) in zip(panels, algorithms.items()):
        axes.axis('off')
        if interface_of(algorithm).assistant is None:
            raise ValueError(f'{title}: no loss of its distiller needs an assistant. Expected one with path TA or AS')
        _panel(axes, title, algorithm)
    kinds = [Patch(facecolor=fill, edgecolor='black', linestyle=style) for fill, style in LEGEND.values()]
    figure.legend(
        kinds,
        LEGEND,
        title='of a stage: channels @ height x width of its output; of a head: feature to classes',
        loc='outside lower center',
        ncols=len(LEGEND),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
    )
    return figure


def _column(stage: int, early_stages: int) -> float:
    """Return the column of a stage. Late stages are moved to the right of the projector."""
    return stage + (1.15 if stage > early_stages else 0.0)


def _panel(axes: Axes, title: str, algorithm: TAS) -> None:
    interface = interface_of(algorithm)
    assistant = interface.assistant
    cut = assistant.early_stages
    for role, view in (('teacher', interface.teacher_view), ('student', interface.student_view)):
        boxes = [(_column(i, cut), f'stage {i}\n{_shape(stage)}') for i, stage in enumerate(view.stages, 1)]
        boxes.append((_column(HEAD, cut), f'head\n{view.feature_dim} to {view.num_classes}'))
        _row(axes, role, boxes, f'{role}\n{FAMILIES[view.family]}')
    names = {_column(i, cut): f'stage {i}' for i in range(assistant.start, HEAD)} | {_column(HEAD, cut): 'head'}
    boxes = [(column, f"{name}\nthe {assistant.late_role}'s") for column, name in names.items()]
    _row(axes, 'assistant', boxes, f'assistant\n{cut} + {assistant.late_stages} stages', assistant.late_role, '--')
    x, y = cut + 1.08, ROWS['assistant']
    _box(axes, x, y, type(assistant.projector).__name__.removesuffix('Projector') + '\nprojector', 'projector')
    _arrow(axes, (x + WIDTH / 2, y), (min(names) - WIDTH / 2, y))
    up = HEIGHT / 2 if assistant.early_role == 'teacher' else -HEIGHT / 2
    _arrow(axes, (cut + 0.25, ROWS[assistant.early_role] - up), (x - 0.15, y + up))
    axes.set_title(title, fontsize=11)
    axes.set_xlim(-0.7, HEAD + 1.65)
    axes.set_ylim(-0.4, 2.4)


def _row(
    axes: Axes, role: str, boxes: list[tuple[float, str]], about: str, owner: str | None = None, style: str = '-'
) -> None:
    y = ROWS[role]
    for column, text in boxes:
        _box(axes, column, y, text, owner or role, style)
    for (a, _), (b, _) in zip(boxes, boxes[1:]):
        _arrow(axes, (a + WIDTH / 2, y), (b - WIDTH / 2, y))
    axes.text(0.4, y, about, ha='right', va='center', fontsize=9)


def _box(axes: Axes, x: float, y: float, text: str, fill: str, style: str = '-') -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    shape: dict[str, Any] = dict(boxstyle='round,pad=0,rounding_size=0.06', linewidth=1.4, linestyle=style)
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, facecolor=FILLS[fill], edgecolor='black', **shape))
    axes.text(x, y, text, ha='center', va='center', fontsize=8)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate('', end, start, arrowprops=dict(arrowstyle='-|>', color='black', shrinkA=0, shrinkB=0))


def _shape(stage: Stage) -> str:
    return f'{stage.channels} @ {stage.grid[0]}x{stage.grid[1]}'
