"""The ``gpu`` suite of the benchmark, a pair at a time, in as many calls as it takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tas_mm.analysis.benchmark.results import METRIC
from tas_mm.analysis.benchmark.suite import Suite

from .setup import Setup
from .steps import Rows

ROOT = Path(__file__).parents[2]
SUITE = 'configs/benchmark/suites/gpu.py'
TINY_SUITE = 'projects/gpu_proof/tiny_suite.py'
JOBS = 4
"""Runs at a time: small networks share a GPU."""
LEAST_SECONDS = 20
"""Time that is kept for the tables."""


def suite_rows(setup: Setup, out: Path, cell: str) -> tuple[Rows, bool]:
    """Run a pair of the suite for as long as there is time.

    Runs that are cut off resume from their checkpoints. Those that an earlier call finished on another machine are
    taken from its raw lines.

    Args:
        setup (Setup): Where it runs.
        out (Path): Folder for the raw lines.
        cell (str): Setting and pair, as ``--only`` takes them.

    Returns:
        tuple: Means over the seeds that are finished, and whether all are.

    Raises:
        RuntimeError: If the tool fails otherwise than by running out of time.
    """
    path = TINY_SUITE if setup.tiny else SUITE
    work, raw = setup.work / 'suite', out / f'suite_{Path(path).stem}.jsonl'
    command = [
        sys.executable,
        'tools/benchmark.py',
        path,
        '--work-dir',
        str(work),
        '--jobs',
        '1' if setup.tiny else str(JOBS),
    ]
    known = ['--known', str(raw)] if raw.is_file() else []
    status = _run([*command, *known, '--only', cell], max(setup.seconds - LEAST_SECONDS, 1.0))
    _run([*command, *known, '--no-run'], None)
    raw.write_bytes((work / f'{Path(path).stem}.jsonl').read_bytes())
    if status not in (0, None):
        raise RuntimeError(f'{" ".join(command)} ended with {status}')
    return _means(Suite(path, work), cell)


def _run(command: list[str], seconds: float | None) -> int | None:
    """Run a command for so many seconds; return its status, or None if it was stopped."""
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _means(suite: Suite, cell: str) -> tuple[Rows, bool]:
    wanted = [run for run in suite.runs if f'{run.setting}/{run.pair}' == cell]
    done = [run for run in wanted if run.file.exists()]
    seeds = Counter(run.method for run in done)
    sums: Counter = Counter()
    for run in done:
        sums[run.method] += json.loads(run.file.read_text())['metrics'][METRIC]
    rows = [dict(cell=cell, method=name, top1=sums[name] / n, seeds=n) for name, n in seeds.items()]
    return sorted(rows, key=lambda row: -row['top1']), len(done) == len(wanted)
