"""Read runs from their logs.

MMEngine's local visualizer writes one JSON line per record in ``<work folder>/<start time>/vis_data/scalars.json``. A
resumed run has several such folders, in which repeated steps replace the earlier ones. If another run started from
scratch in the same work folder, only the last run counts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

METRIC = 'accuracy/top1'
PROBES = ('knn/', 'linear/', 'agreement/')
"""Prefixes of the metrics of probes, which need few or no labels and no head."""
ROLES = ('', 'assistant.', 'teacher.')
NO_METRICS = {'step', 'time', 'data_time', 'memory'}
"""Other keys in the records of validations."""


@dataclass
class RunLog:
    """Records from the logs of one work folder.

    Attributes:
        name (str): Name of the folder.
        validations (dict): Step of each validation to its metrics, accuracies in percent.
        losses (dict): Training step to its losses.
        seconds (float): Wall-clock time, start-up and validation included.
    """

    name: str
    validations: dict[int, dict[str, float]] = field(default_factory=dict)
    losses: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Return steps and values of one metric of the validations."""
        points = sorted((step, metrics[key]) for step, metrics in self.validations.items() if key in metrics)
        return [step for step, _ in points], [value for _, value in points]

    def last(self, key: str) -> float | None:
        """Return the last value of a metric, or None."""
        values = self.curve(key)[1]
        return values[-1] if values else None


def read_run(work_dir: str | Path) -> RunLog:
    """Read the logs of the last run in a work folder, from its start through every resumption.

    Args:
        work_dir (str | Path): Work folder.

    Raises:
        FileNotFoundError: If it has no logs.
    """
    work_dir = Path(work_dir)
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not logs:
        raise FileNotFoundError(f'{work_dir} does not have logs of a run (no */vis_data/scalars.json)')
    run = RunLog(work_dir.name)
    for log in logs:
        records = _records(log)
        losses = {record['step']: record for record in records if 'loss' in record}
        validations = {record['step']: record for record in records if 'loss' not in record}
        if not _resumes(log, losses, run):
            run = RunLog(work_dir.name)
        run.losses = _replaced(run.losses, losses)
        run.validations = _replaced(run.validations, validations)
        started = datetime.strptime(log.parent.parent.name, '%Y%m%d_%H%M%S').timestamp()
        run.seconds += log.stat().st_mtime - started
    return run


def _records(log: Path) -> list[dict[str, Any]]:
    records = []
    for line in log.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:  # a full disk or a crash truncated the line
            continue
    return records


def _resumes(log: Path, losses: dict[int, dict], run: RunLog) -> bool:
    """Return True for the log of a resumed run, by its config, or else if it starts after the first step."""
    config = log.with_name('config.py')
    said = re.search(r'^resume = (True|False)$', config.read_text(), re.MULTILINE) if config.is_file() else None
    if said:
        return said[1] == 'True'
    return not losses or not run.losses or min(losses) > min(run.losses)


def _replaced(before: dict[int, dict], after: dict[int, dict]) -> dict[int, dict]:
    """Merge records: the earlier ones up to the start of the later ones, then the later ones."""
    kept = {step: record for step, record in before.items() if step < min(after, default=math.inf)}
    return kept | after


def main_metric(runs: Sequence[RunLog]) -> str:
    """Return top-1 accuracy, or the first metric of a probe if the runs do not measure accuracy.

    Args:
        runs (sequence): Runs.
    """
    if any(run.curve(role + METRIC)[0] for run in runs for role in ROLES):
        return METRIC
    return next(iter(probe_metrics(runs)), METRIC)


def probe_metrics(runs: Sequence[RunLog]) -> list[str]:
    """List the metrics of probes of the runs' students, by kind.

    Args:
        runs (sequence): Runs.
    """
    names = dict.fromkeys(key for run in runs for record in run.validations.values() for key in record)
    return [name for prefix in PROBES for name in names if name.startswith(prefix)]


def check_metric(runs: Sequence[RunLog], metric: str) -> None:
    """Check that the validations of the runs have the metric that the user named with ``--metric``.

    Raises:
        ValueError: If no run has it. Lists the metrics that the runs have, without roles.
    """
    if any(run.curve(role + metric)[0] for run in runs for role in ROLES):
        return
    names = {key for run in runs for record in run.validations.values() for key in record} - NO_METRICS
    known = sorted({name.removeprefix('assistant.').removeprefix('teacher.') for name in names})
    expected = f'Expected one of {", ".join(known)}' if known else 'They have no validation'
    raise ValueError(f'--metric {metric}: not in the logs of {", ".join(run.name for run in runs)}. {expected}')
