"""Figures of finished runs: losses and accuracies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..logs import METRIC, ROLES, RunLog, main_metric, probe_metrics
from .canvas import COLORS, DPI, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS = dict(
    cka='linear CKA with the teacher',
    cosine='cosine to the teacher',
    neighbors='neighbors in common (%)',
    retrieval="teacher's image found (%)",
)
"""Axis labels of the metrics of agreement."""


def draw_accuracy(runs: list[RunLog], path: str | Path, metric: str = METRIC) -> None:
    """Draw the accuracy of every validated network over epochs, and save the figure.

    Args:
        runs (list): Runs, named in the legend.
        path (str | Path): File to write, in the format of its extension. Creates the folder.
        metric (str): Name of the metric, without a role. Defaults to top-1 accuracy.
    """
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    _accuracies(axes, runs, metric)
    axes.legend()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def curves_figure(runs: list[RunLog], metric: str | None = None) -> Figure:
    """Draw metrics over epochs and every loss over training steps, each in its own panel.

    Args:
        runs (list): Runs, named in the legend.
        metric (str, optional): Name of the first metric, without a role. Those of probes follow. Defaults to None:
            top-1 accuracy or, for runs without it, a metric of a probe.
    """
    metrics = list(dict.fromkeys([metric or main_metric(runs), *probe_metrics(runs)]))
    names = list(
        dict.fromkeys(key for run in runs for record in run.losses.values() for key in record if 'loss' in key)
    )
    count = len(metrics) + len(names)
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = new_figure(1 + 3.6 * columns, 0.6 + 2.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, name in zip(panels, metrics):
        _accuracies(axes, runs, name)
        axes.set_title('accuracy' if name == METRIC else name, fontsize=10)
    for axes, name in zip(panels[len(metrics) :], names):
        for run, color in zip(runs, _colors(len(runs))):
            points = sorted((step, record[name]) for step, record in run.losses.items() if name in record)
            axes.plot(*zip(*points) if points else ([], []), color=color, linewidth=1.2, label=run.name)
        axes.set_title('sum of the losses' if name == 'loss' else name, fontsize=10)
        axes.set_xlabel('training step')
        axes.set_ylabel('loss (nats)')
        axes.grid(alpha=0.3)
    for axes in panels[count:]:
        axes.axis('off')
    drawn = {}  # a panel may not show every network
    for axes in panels[: len(metrics)]:
        drawn = dict(zip(*axes.get_legend_handles_labels()[::-1])) | drawn
    figure.legend(drawn.values(), drawn, loc='outside lower center', ncols=3, fontsize=9)
    return figure


def _colors(number: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(number)]


def _accuracies(axes: Axes, runs: list[RunLog], metric: str) -> None:
    """Draw one color per run and one line style per network. A single run has one color per network."""
    for i, run in enumerate(runs):
        distilled = any(key.startswith(ROLES[1:]) for record in run.validations.values() for key in record)
        for j, role in enumerate(ROLES):
            steps, values = run.curve(role + metric)
            network = role.rstrip('.') or ('student' if distilled else '')
            style: dict[str, Any] = dict(
                color=COLORS[(i if len(runs) > 1 else j) % len(COLORS)],
                linestyle=('-', '--', ':')[j],
                label=f'{run.name}: {network}' if network else run.name,
            )
            if len(steps) == 1 and role:  # measured once, because it does not change
                axes.axhline(values[0], **style)
            elif steps:
                axes.plot(steps, values, marker='o', markersize=3, **style)
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    axes.set_xlabel('epoch')
    name = metric.split('/')[-1]
    axes.set_ylabel(f'{name} accuracy (%)' if name.startswith('top') else UNITS.get(name.split('.')[-1], name))
    axes.grid(alpha=0.3)
