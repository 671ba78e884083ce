"""Plant each fault in a copy of the tree, and run the tests that must catch it.

``python -m tests.faults`` first runs all of these tests without a fault. Exit status 1 if one fails there, or if a
fault is not caught, does not apply, or keeps the tests from running.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from .fault import ROOT, Fault
from .table import FAULTS

LEFT_OUT = {'build', 'dist', 'work_dirs', 'data', 'wheels'}
"""Folders of the root that no test reads, beside hidden ones."""


class Result(NamedTuple):
    """Outcome of one fault."""

    fault: Fault
    caught: bool
    said: str
    """The test that caught it, or what happened."""
    seconds: float


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog='python -m tests.faults', description=__doc__)
    parser.add_argument('words', nargs='*', help='plant the faults whose name or file has one of these words')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='copies to work in (default: cores)')
    parser.add_argument('--timeout', type=int, default=600, help='seconds for the tests of one fault (default: 600)')
    parser.add_argument('--without-baseline', action='store_true', help='do not run the tests without a fault first')
    return parser.parse_args()


def copy_tree(target: Path) -> None:
    """Copy what the tests need; links stay links, so that the copy's configs are its own."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        ignored = {name for name in names if name == '__pycache__' or name.endswith('.egg-info')}
        at_root = Path(folder) == ROOT
        return ignored | {name for name in names if at_root and (name.startswith('.') or name in LEFT_OUT)}

    shutil.copytree(ROOT, target, symlinks=True, ignore=left_out)


class Worker:
    """A copy of the tree, and a server that runs tests in it.

    Args:
        tree (Path): Where to put the copy.
    """

    def __init__(self, tree: Path) -> None:
        copy_tree(tree)
        self.tree = tree
        # No bytecode: within a second and at the same size Python would take the former one.
        environment = dict(os.environ, PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE='1')
        environment.setdefault('OMP_NUM_THREADS', '1')
        command = [sys.executable, '-W', 'ignore', str(Path(__file__).with_name('server.py')), str(tree)]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.server = subprocess.Popen(command, env=environment, **pipes)

    def run(self, nodes: list[str], timeout: float) -> tuple[int, str]:
        """Run tests; return pytest's exit status, -1 if they take too long, and what it prints."""
        printed = self.tree.with_suffix('.txt')
        self.server.stdin.write(json.dumps(dict(nodes=nodes, printed=str(printed), timeout=timeout)) + '\n')
        self.server.stdin.flush()
        return int(self.server.stdout.readline()), printed.read_text()

    def stop(self) -> None:
        """End the server."""
        self.server.stdin.close()
        self.server.wait()


@contextmanager
def planted(fault: Fault, tree: Path) -> Iterator[None]:
    """Plant a fault in a copy, and take it out again."""
    before = fault.plant(tree)
    try:
        yield
    finally:
        (tree / fault.file).write_text(before)


def try_fault(fault: Fault, workers: SimpleQueue, timeout: float) -> Result:
    """Plant a fault in a copy that is free, and run its tests."""
    worker, began = workers.get(), time.monotonic()
    try:
        if why := fault.why_not(worker.tree):
            return Result(fault, False, why, 0.0)
        with planted(fault, worker.tree):
            status, printed = worker.run(fault.nodes, timeout)
    finally:
        workers.put(worker)
    failed = re.search(r'^(?:FAILED|ERROR) (?:.*::)?(\S+)', printed, flags=re.MULTILINE)
    said = {0: 'NOT CAUGHT', 1: failed[1] if failed else 'a test', -1: f'no end after {timeout:.0f} s'}
    other = f'the tests do not run ({status}): {" ".join(printed.split()[-20:])}'
    return Result(fault, status == 1, said.get(status, other), time.monotonic() - began)


def baseline(worker: Worker, faults: list[Fault]) -> bool:
    """Run all selected tests without a fault; print what fails."""
    nodes = list(dict.fromkeys(node for fault in faults for node in fault.nodes))
    print(f'Without a fault: {len(nodes)} tests ...', flush=True)
    began = time.monotonic()
    status, printed = worker.run(nodes, timeout=3600)
    print(printed.strip().splitlines()[-1] if status == 0 else printed[-5000:])
    print(f'{"all pass" if status == 0 else "they must pass first"} ({time.monotonic() - began:.0f} s)\n', flush=True)
    return status == 0


def plant_all(faults: list[Fault], free: SimpleQueue, timeout: float, jobs: int) -> list[Result]:
    """Plant fault after fault, in as many copies at once as there are, and print what becomes of each."""
    results, began = [], time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        for task in as_completed(pool.submit(try_fault, fault, free, timeout) for fault in faults):
            results.append(result := task.result())
            left = (time.monotonic() - began) / len(results) * (len(faults) - len(results)) / 60
            number, mark = f'[{len(results):3}/{len(faults)}]', 'caught' if result.caught else 'NOT   '
            print(f'{number} {mark} {result.fault.name} ({result.seconds:.0f} s, {left:.0f} min left): {result.said}')
            sys.stdout.flush()
    return results


def main() -> int:
    """Plant the chosen faults; return 1 if something is not as it should be."""
    args = arguments()
    faults = [f for f in FAULTS if not args.words or any(word in f'{f.name} {f.file}' for word in args.words)]
    free: SimpleQueue = SimpleQueue()
    jobs = max(1, min(args.jobs, len(faults)))
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(Path(folder) / f'tree{i}') for i in range(jobs)]
        try:
            if not args.without_baseline and not baseline(workers[0], faults):
                return 1
            for worker in workers:
                free.put(worker)
            began = time.monotonic()
            results = plant_all(faults, free, args.timeout, jobs)
        finally:
            for worker in workers:
                worker.stop()
    missed = [result for result in results if not result.caught]
    print(
        f'\n{len(results) - len(missed)} of {len(results)} faults caught in {(time.monotonic() - began) / 60:.0f} min'
    )
    for result in missed:
        print(f'  {result.fault.name} ({result.fault.file}): {result.said}. A user would get: {result.fault.harm}')
    return int(bool(missed))
