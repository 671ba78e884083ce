"""Report the result of a distillation on the user's data: a table and curves, from the logs of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .figures.canvas import publish
from .figures.curves import curves_figure
from .logs import METRIC, RunLog, probe_metrics, read_run
from .tables import table

ROLES = dict(teacher='teacher.', assistant='assistant.', student='')


def report_accuracy(work_dir: Path, exported: float, runs: Sequence[str] = (), alone: bool = False) -> str:
    """Report a distillation with labels, and draw its curves.

    Args:
        work_dir (Path): Folder of the runs, with the distillation in ``distill``.
        exported (float): Accuracy of the exported student, in percent.
        runs (sequence): Folders of other runs to draw.
        alone (bool): Whether there is a run ``alone`` of the student without a teacher. Defaults to False.

    Returns:
        str: Text to print.
    """
    run, others = read_run(work_dir / 'distill'), [read_run(work_dir / name) for name in runs]
    baseline = [read_run(work_dir / 'alone')] if alone else []
    rows = [(network, *_last_and_best(run, role + METRIC)) for network, role in ROLES.items()]
    rows += [('student trained alone', *_last_and_best(each, METRIC)) for each in baseline]
    rows.append((f'student, exported to {work_dir / "student.pth"}', _cell(exported), ''))
    header = ('network', 'top-1 accuracy (%), last epoch', 'best epoch')
    return f'{table(header, rows)}\n\n{_curves([*others, *baseline, run], work_dir)}'


def report_features(work_dir: Path, tuned: Sequence[str] = ()) -> str:
    """Report a distillation without labels and the fine-tuning after it, and draw the curves.

    Args:
        work_dir (Path): Folder of the runs, with the distillation in ``distill``.
        tuned (sequence): Folders of runs that trained the student on labels.

    Returns:
        str: Text to print.
    """
    run, runs = read_run(work_dir / 'distill'), [read_run(work_dir / name) for name in tuned]
    metrics = probe_metrics([run])
    rows = [(network, *(_cell(run.last(role + metric)) for metric in metrics)) for network, role in ROLES.items()]
    text = table(('network, last epoch', *metrics), rows)
    if runs:
        header = ('student trained on labels', 'top-1 accuracy (%), last epoch', 'best epoch')
        text += '\n\n' + table(header, [(each.name, *_last_and_best(each, METRIC)) for each in runs])
    return f'{text}\n\nStudent, a backbone: {work_dir / "student.pth"}\n{_curves([*runs, run], work_dir)}'


def _last_and_best(run: RunLog, metric: str) -> tuple[str, str]:
    values = run.curve(metric)[1]
    return (_cell(values[-1]), _cell(max(values))) if values else ('-', '-')


def _cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'


def _curves(runs: list[RunLog], work_dir: Path) -> str:
    return f'Curves: {publish(dict(curves=curves_figure(runs)), work_dir)[0]}'
