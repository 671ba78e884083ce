"""Reading runs back from their logs, and drawing them.

MMEngine's local visualizer leaves one JSON line a record in ``<work folder>/<start time>/vis_data/scalars.json``. A run
that was resumed has several such folders; later records of a step replace earlier ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

METRIC = 'accuracy/top1'
ROLES = ('', 'assistant.', 'teacher.')
# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')


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
    """Read the logs of a run.

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
        for line in log.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # a full disk or a crash cut the line short
                continue
            if 'loss' in record:
                run.losses[record['step']] = record
            else:
                run.validations[record['step']] = record
        started = datetime.strptime(log.parent.parent.name, '%Y%m%d_%H%M%S').timestamp()
        run.seconds += log.stat().st_mtime - started
    return run


def draw_accuracy(runs: list[Run], path: str | Path, metric: str = METRIC) -> None:
    """Draw the accuracy of every network that the runs validated, over epochs, and save the picture.

    Args:
        runs (list): The runs; their names become the legend's.
        path (str | Path): File to write; its ending says the format.
        metric (str): Name of the metric, without a role. Defaults to top-1 accuracy.
    """
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout='constrained')
    colours = iter(COLOURS * len(runs))
    for run in runs:
        for role in ROLES:
            steps, values = run.curve(role + metric)
            label = f'{run.name}: {role.rstrip(".")}' if role else run.name
            if len(steps) == 1:  # measured once, since it does not change
                axes.axhline(values[0], color=next(colours), linestyle='--', label=label)
            elif steps:
                axes.plot(steps, values, color=next(colours), marker='o', markersize=3, label=label)
    axes.set_xlabel('epoch')
    axes.set_ylabel(f'{metric.split("/")[-1]} accuracy (%)')
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)
