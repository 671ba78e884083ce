"""A part in a process of its own: a crash, a full GPU or a hang ends that part and nothing else."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tas_mm.engine.checkpoints import atomic_write

from .lines import FAILED, OK, UNFINISHED
from .parts import LIMIT, Part
from .setup import Setup

PR_SET_PDEATHSIG = 1
SHOWN = 3000
"""Last letters of an error that are kept."""


def run_isolated(part: Part, setup: Setup, seconds: float) -> dict[str, Any]:
    """Run a part and return its state, its rows or its error, and the time it took.

    The process is forked from this one, which has imported everything and must not have touched the GPU.

    Args:
        part (Part): The part.
        setup (Setup): Where it runs.
        seconds (float): Time that is left; a part is stopped after ``LIMIT`` at the latest.
    """
    allowed = min(seconds, LIMIT)
    log = setup.work / 'logs' / f'{part.name.replace("/", "_")}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    result = log.with_suffix('.json')
    result.unlink(missing_ok=True)
    process = multiprocessing.get_context('fork').Process(
        target=_child, args=(part, replace(setup, seconds=allowed), log, result, os.getpid())
    )
    start = time.monotonic()
    process.start()
    try:
        process.join(allowed)
        stopped = process.is_alive()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
    taken = dict(seconds=round(time.monotonic() - start, 1))
    if result.is_file():
        return dict(json.loads(result.read_text()), **taken)
    if stopped and allowed < LIMIT:
        return dict(state=UNFINISHED, error=f'the call ended after {allowed:.0f} s', **taken)
    why = f'ran longer than {allowed:.0f} s' if stopped else f'ended with status {process.exitcode}'
    return dict(state=FAILED, error=f'{why}\n{log.read_text()[-SHOWN:]}', **taken)


def _child(part: Part, setup: Setup, log: Path, result: Path, parent: int) -> None:
    os.setsid()  # so that it is stopped with all processes that it starts
    with suppress(AttributeError):  # outside Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    stream = log.open('w', buffering=1)
    for descriptor in (1, 2):
        os.dup2(stream.fileno(), descriptor)
    sys.stdout = sys.stderr = stream
    try:
        rows, finished = part.run(setup)
        found = dict(state=OK if finished else UNFINISHED, rows=rows)
        atomic_write(json.dumps(found, default=float).encode(), result)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
