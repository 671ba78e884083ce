"""A process that has the toolboxes imported, and forks one for the tests of each fault: ten seconds less for each.

tas_mm itself, with the fault in it, is imported in the forked process.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def preload(tree: Path) -> None:
    """Import what tests import, but for tas_mm and the tests.

    Three of tas_mm's adapters are needed for that. So no fault can be planted in them.
    """
    import matplotlib.pyplot  # noqa: F401
    import mmengine.runner  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    for name in ('vision', 'multimodal', 'razor'):
        runpy.run_path(str(tree / 'tas_mm' / 'compat' / f'{name}.py'))['adapt']({})
    import mmpretrain.datasets
    import mmpretrain.evaluation  # noqa: F401
    import timm  # noqa: F401

    torch.set_num_threads(1)


def run_tests(nodes: list[str], printed: str) -> None:
    """Run tests in a forked process, and end it with pytest's exit status."""
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.setpgid(0, 0)  # with all processes that tests start, to be ended together
    import pytest

    for name in [name for name in sys.modules if name.split('.')[0] in ('tests', 'tas_mm')]:
        del sys.modules[name]
    status = 3
    try:
        status = pytest.main(['-q', '-x', '-p', 'no:cacheprovider', '--tb=line', '-W', 'ignore', *nodes])
    finally:
        sys.stdout.flush()
        os._exit(int(status))


def wait_for(child: int, timeout: float) -> int:
    """Wait for a forked process, and return its exit status; end it after a time, and return -1."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def main() -> None:
    """Serve: a line of JSON with tests, a file for what they print, and a time; then a line with the exit status."""
    tree = Path(sys.argv[1])
    os.chdir(tree)
    sys.path[:0] = [str(tree)]
    answers = os.fdopen(os.dup(1), 'w')  # what the toolboxes print goes elsewhere
    os.dup2(2, 1)
    preload(tree)
    for line in sys.stdin:
        asked = json.loads(line)
        if not (child := os.fork()):
            run_tests(asked['nodes'], asked['printed'])
        print(wait_for(child, asked['timeout']), file=answers, flush=True)


if __name__ == '__main__':
    main()
