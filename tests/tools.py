"""Run a tool as a user runs it, but forked from a process that has imported everything already.

Imports take longer than most of what the tests ask of a tool. Each command has a process of its own.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(
    [
        *('tas_mm', 'tas_mm.analysis.figures', 'tas_mm.recipes.sources', 'tas_mm.student', 'sklearn.neighbors'),
        *(f'mmpretrain.{part}' for part in ('apis', 'datasets', 'engine', 'evaluation', 'models', 'visualization')),
    ]
)


def run_tool(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None):
    """Run a script with its arguments, and return what ``subprocess.run`` would.

    Args:
        command (str | Path): Path of the script, from the repository's root, and its arguments.
        cwd (Path): Working directory. Defaults to the repository's root.
        env (Mapping, optional): Environment variables to set besides those of this process. Defaults to None.
    """
    command = [*map(str, command)]
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder) / name for name in ('stdout', 'stderr')]
        variables = dict(os.environ, OMP_NUM_THREADS='1', **(env or {}))
        process = SERVER.Process(target=_run, args=(command, str(cwd), variables, [*map(str, printed)]))
        process.start()
        process.join()
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in printed))


def _run(command: list[str], cwd: str, variables: dict[str, str], printed: list[str]) -> None:
    """Become the script, in the forked process."""
    for number, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    gc.freeze()  # imported modules: a dataset collects garbage when it is built
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).resolve().parent))
    warnings.simplefilter('ignore')
    torch.set_num_threads(int(variables['OMP_NUM_THREADS']))
    runpy.run_path(command[0], run_name='__main__')
