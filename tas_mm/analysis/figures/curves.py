"""Figures of finished runs: losses and accuracies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..logs import METRIC, ROLES, RunLog
from .canvas import COLORS, DPI, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_accuracy(runs: list[RunLog], path: str | Path, metric: str = METRIC) -> None:
    """Draw the accuracy of every validated network over epochs, and save the figure.

    Args:
        runs (list): Runs; the legend shows their names.
        path (str | Path): File to write; its ending sets the format. Creates the folder.
        metric (str): Name of the metric, without a role. Defaults to top-1 accuracy.
    """
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    _accuracies(axes, runs, metric)
    axes.legend()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def curves_figure(runs: list[RunLog], metric: str = METRIC) -> Figure:
    """Draw accuracies over epochs and every loss over training steps, each in its own panel.

    Args:
        runs (list): Runs; the legend shows their names.
        metric (str): Name of the metric, without a role. Defaults to top-1 accuracy.
    """
    names = list(
        dict.fromkeys(key for run in runs for record in run.losses.values() for key in record if 'loss' in key)
    )
    columns = min(3, 1 + len(names))
    rows = math.ceil((1 + len(names)) / columns)
    figure = new_figure(1 + 3.6 * columns, 0.6 + 2.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    _accuracies(panels[0], runs, metric)
    panels[0].set_title('accuracy', fontsize=10)
    for axes, name in zip(panels[1:], names):
        for run, color in zip(runs, _colors(len(runs))):
            points = sorted((step, record[name]) for step, record in run.losses.items() if name in record)
            axes.plot(*zip(*points) if points else ([], []), color=color, linewidth=1.2, label=run.name)
        axes.set_title('sum of the losses' if name == 'loss' else name, fontsize=10)
        axes.set_xlabel('training step')
        axes.set_ylabel('loss (nats)')
        axes.grid(alpha=0.3)
    for axes in panels[1 + len(names) :]:
        axes.axis('off')
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=3, fontsize=9)
    return figure


def _colors(number: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(number)]


def _accuracies(axes: Axes, runs: list[RunLog], metric: str) -> None:
    """Draw one color for each run and one line style for each network; a single run has a color for each network."""
    for i, run in enumerate(runs):
        distilled = any(run.curve(role + metric)[0] for role in ROLES if role)
        for j, role in enumerate(ROLES):
            steps, values = run.curve(role + metric)
            network = role.rstrip('.') or ('student' if distilled else '')
            style = dict(
                color=COLORS[(i if len(runs) > 1 else j) % len(COLORS)],
                linestyle=('-', '--', ':')[j],
                label=f'{run.name}: {network}' if network else run.name,
            )
            if len(steps) == 1 and role:  # measured once, since it does not change
                axes.axhline(values[0], **style)
            elif steps:
                axes.plot(steps, values, marker='o', markersize=3, **style)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel('epoch')
    axes.set_ylabel(f'{metric.split("/")[-1]} accuracy (%)')
    axes.grid(alpha=0.3)
