"""Reading runs back from their logs, and drawing them.

MMEngine's local visualizer leaves one JSON line a record in ``<work folder>/<start time>/vis_data/scalars.json``. A run
that was resumed has several such folders; what was done again replaces what was done before. So has a folder in which
another run began anew: of these only the last counts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .figures import COLOURS, DPI, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC = 'accuracy/top1'
ROLES = ('', 'assistant.', 'teacher.')
NO_METRICS = {'step', 'time', 'data_time', 'memory'}
"""What records of validations hold besides."""


@dataclass
class Run:
    """What the logs of one work folder say.

    Attributes:
        name (str): Name of the folder.
        validations (dict): Step of each validation -> its metrics, accuracies in percent.
        losses (dict): Training step -> its losses.
        seconds (float): Wall-clock time, start-up and validation included.
    """

    name: str
    validations: dict[int, dict[str, float]] = field(default_factory=dict)
    losses: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric of the validations."""
        points = sorted((step, metrics[key]) for step, metrics in self.validations.items() if key in metrics)
        return [step for step, _ in points], [value for _, value in points]

    def last(self, key: str) -> float | None:
        """The last value of a metric, or None."""
        values = self.curve(key)[1]
        return values[-1] if values else None


def read_run(work_dir: str | Path) -> Run:
    """Read the logs of the last run in a work folder, from where it began, through all times that it was resumed.

    Args:
        work_dir (str | Path): Its work folder.

    Raises:
        FileNotFoundError: If there are no logs in it.
    """
    work_dir = Path(work_dir)
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not logs:
        raise FileNotFoundError(f'{work_dir} holds no logs of a run (no */vis_data/scalars.json)')
    run = Run(work_dir.name)
    for log in logs:
        records = _records(log)
        losses = {record['step']: record for record in records if 'loss' in record}
        validations = {record['step']: record for record in records if 'loss' not in record}
        if not _goes_on(log, losses, run):
            run = Run(work_dir.name)
        run.losses = _replaced(run.losses, losses)
        run.validations = _replaced(run.validations, validations)
        started = datetime.strptime(log.parent.parent.name, '%Y%m%d_%H%M%S').timestamp()
        run.seconds += log.stat().st_mtime - started
    return run


def _records(log: Path) -> list[dict[str, float]]:
    records = []
    for line in log.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:  # a full disk or a crash cut the line short
            continue
    return records


def _goes_on(log: Path, losses: dict[int, dict], run: Run) -> bool:
    """Whether a log is of a resumed run: by the config beside it, or else if it begins after the first step."""
    config = log.with_name('config.py')
    said = re.search(r'^resume = (True|False)$', config.read_text(), re.MULTILINE) if config.is_file() else None
    if said:
        return said[1] == 'True'
    return not losses or not run.losses or min(losses) > min(run.losses)


def _replaced(before: dict[int, dict], after: dict[int, dict]) -> dict[int, dict]:
    """Earlier records up to where later ones begin, and these."""
    kept = {step: record for step, record in before.items() if step < min(after, default=math.inf)}
    return kept | after


def refuse_unknown_metric(runs: Sequence[Run], metric: str) -> None:
    """Refuse a metric that no validation of the runs has, under the name that ``--metric`` gives it.

    Raises:
        ValueError: If there is none; names those that there are, without roles.
    """
    if any(run.curve(role + metric)[0] for run in runs for role in ROLES):
        return
    names = {key for run in runs for record in run.validations.values() for key in record} - NO_METRICS
    names = sorted({name.removeprefix('assistant.').removeprefix('teacher.') for name in names})
    valid = f'valid are {", ".join(names)}' if names else 'there is no validation in them'
    raise ValueError(f'--metric {metric}: it is not in the logs of {", ".join(run.name for run in runs)}; {valid}')


def draw_accuracy(runs: list[Run], path: str | Path, metric: str = METRIC) -> None:
    """Draw the accuracy of every network that the runs validated, over epochs, and save the picture.

    Args:
        runs (list): The runs; their names become the legend's.
        path (str | Path): File to write, in a folder that need not exist; its ending says the format.
        metric (str): Name of the metric, without a role. Defaults to top-1 accuracy.
    """
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    _accuracies(axes, runs, metric)
    axes.legend()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def curves_figure(runs: list[Run], metric: str = METRIC) -> Figure:
    """Accuracies over epochs, and every loss over training steps, each in a panel of its own.

    Args:
        runs (list): The runs; their names become the legend's.
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
        for run, colour in zip(runs, _colours(len(runs))):
            points = sorted((step, record[name]) for step, record in run.losses.items() if name in record)
            axes.plot(*zip(*points) if points else ([], []), color=colour, linewidth=1.2, label=run.name)
        axes.set_title('sum of the losses' if name == 'loss' else name, fontsize=10)
        axes.set_xlabel('training step')
        axes.set_ylabel('loss (nats)')
        axes.grid(alpha=0.3)
    for axes in panels[1 + len(names) :]:
        axes.axis('off')
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=3, fontsize=9)
    return figure


def _colours(number: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(number)]


def _accuracies(axes: Axes, runs: list[Run], metric: str) -> None:
    """One colour a run, one kind of line a network; of a single run, one colour a network too."""
    for i, run in enumerate(runs):
        distilled = any(run.curve(role + metric)[0] for role in ROLES if role)
        for j, role in enumerate(ROLES):
            steps, values = run.curve(role + metric)
            network = role.rstrip('.') or ('student' if distilled else '')
            style = dict(
                color=COLOURS[(i if len(runs) > 1 else j) % len(COLOURS)],
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
