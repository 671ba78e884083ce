"""Run a tool as a user runs it, but forked from a process that has imported what the tests import.

Imports take longer than most of what the tests ask of a tool. Each command has a process of its own, and what tests
did before does not reach it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import torch

ROOT = Path(__file__).parents[1]
FORK = multiprocessing.get_context('fork')


class Tools:
    """A process that stays as it was when it was forked from this one, and forks a process for each tool."""

    def __init__(self) -> None:
        self.pipe, other = FORK.Pipe()
        if os.fork() == 0:
            self.pipe.close()
            with suppress(EOFError, OSError):  # the tests have ended, or were killed while a tool ran
                self._serve(other)
            os._exit(0)
        other.close()

    @staticmethod
    def _serve(pipe: Connection) -> NoReturn:
        while True:
            process = FORK.Process(target=_run, args=pipe.recv())
            process.start()
            process.join()
            pipe.send(process.exitcode)

    def run(self, *args: Any) -> int:
        """Run :func:`_run` in a process of its own, and return its exit code."""
        self.pipe.send(args)
        return self.pipe.recv()


@cache
def tools() -> Tools:
    """Return the process that forks tools. conftest.py starts it before the first test."""
    return Tools()


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
        code = tools().run(command, str(cwd), variables, [*map(str, printed)])
        return subprocess.CompletedProcess(command, code, *(path.read_text() for path in printed))


def _run(command: list[str], cwd: str, variables: dict[str, str], printed: list[str]) -> None:
    """Become the script, in the forked process."""
    for number, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).resolve().parent))
    warnings.simplefilter('ignore')
    torch.set_num_threads(int(variables['OMP_NUM_THREADS']))
    runpy.run_path(command[0], run_name='__main__')
