"""Run a benchmark suite: methods x pairs x seeds, each on the same data, recipe, steps and teacher.

    python tools/benchmark.py configs/benchmark/suites/smoke.py

A finished run is never repeated, and a killed one resumes from its last checkpoint: call the same command again.
Missing teachers are trained first. Results: one JSON line for each run, tables in Markdown, and plots.
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

# Otherwise importing MMEngine starts CUDA, and a process that uses CUDA must not fork.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.analysis.benchmark.results import Results, fill_page
from tas_mm.analysis.benchmark.run import execute, read_data
from tas_mm.analysis.benchmark.suite import Suite
from tas_mm.analysis.figures.gains import draw_gains
from tas_mm.analysis.tables import markdown, table
from tas_mm.engine.checkpoints import atomic_write
from tas_mm.engine.launch import at_least


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('suite', help='config of the suite')
    parser.add_argument('--work-dir', help='folder of the runs (default: work_dirs/benchmark/<name of the suite>)')
    parser.add_argument('--out', help='folder for tables, raw lines and plot (default: the work folder)')
    parser.add_argument(
        '--jobs', type=at_least(1), help='runs at a time on each device (default: on CPU one a core, else 1)'
    )
    parser.add_argument('--only', help='only runs whose setting/pair/method/seed contains this')
    parser.add_argument(
        '--known', nargs='+', default=[], help='raw lines (.jsonl) of runs finished elsewhere by these teachers'
    )
    parser.add_argument('--page', type=Path, help='page in Markdown, whose marked tables are written again')
    parser.add_argument('--no-run', action='store_true', help='only write the tables of what is finished')
    return parser.parse_args()


def devices() -> list[str]:
    """Return the names of the GPUs without initializing them, which would forbid forking. Empty without a GPU."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is not None:
        return [name for name in visible.split(',') if name]
    return [str(i) for i in range(torch.cuda.device_count())]


PR_SET_PDEATHSIG = 1


def child(work: Callable, device: str | None, log: Path, parent: int) -> None:
    """Do the work in the process of a run, with its own log."""
    # The runs end with the tool, however it ends. Otherwise a second call would train beside them in the same folders.
    with suppress(AttributeError):  # outside Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    if device is not None:
        os.environ['CUDA_VISIBLE_DEVICES'] = device
    stream = log.open('a', buffering=1)
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = stream  # not the progress bar's, whose lock may be held
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


class Pool:
    """Pool of one process per job, forked from this process, which has imported everything."""

    def __init__(self, places: list[str | None], progress: Progress, title: str, total: int) -> None:
        self.context = multiprocessing.get_context('fork')
        self.free = places
        self.running: dict[multiprocessing.Process, tuple[str | None, str, Path]] = {}
        self.failed: list[tuple[str, Path]] = []
        self.progress, self.task = progress, progress.add_task(title, total=total)

    def submit(self, name: str, work: Callable, folder: Path) -> None:
        """Start a job as soon as a place is free."""
        while not self.free:
            self.reap()
        folder.mkdir(parents=True, exist_ok=True)
        place, log = self.free.pop(0), folder / 'console.log'
        process = self.context.Process(target=child, args=(work, place, log, os.getpid()))
        process.start()
        self.running[process] = (place, name, log)

    def reap(self) -> None:
        """Collect finished processes."""
        time.sleep(0.05)
        for process in [p for p in self.running if not p.is_alive()]:
            place, name, log = self.running.pop(process)
            self.free.append(place)
            if process.exitcode:
                self.failed.append((name, log))
            self.progress.advance(self.task)

    def finish(self) -> None:
        """Wait for all jobs."""
        while self.running:
            self.reap()


def run(suite: Suite, args: argparse.Namespace) -> list[tuple[str, Path]]:
    """Train the missing runs. Return the failed ones."""
    places = devices() or [None]
    jobs = args.jobs or (1 if places[0] is not None else os.cpu_count() or 1)
    if args.only and not any(args.only in r.name for r in suite.runs):
        near = get_close_matches(args.only, [r.name for r in suite.runs], n=3, cutoff=0.3) or [suite.runs[0].name]
        raise SystemExit(f'--only {args.only}: unknown run. Closest names: {", ".join(near)}')
    todo = [r for r in suite.missing if not args.only or args.only in r.name]
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn('ETA'), TimeRemainingColumn(elapsed_when_finished=True, compact=True)) as bar:
        wanted = {Path(r.cfg.model.teacher_ckpt) for r in todo if r.cfg.model.get('teacher_ckpt')}
        teachers = {path: cfg for path, cfg in suite.teachers.items() if path in wanted and not path.exists()}
        for title, work in (
            ('teachers', [(str(path), cfg, path.parent, False) for path, cfg in teachers.items()]),
            ('runs', [(r.name, r.cfg, r.dir, True) for r in todo]),
        ):
            if not work:
                continue
            for _, cfg, _, _ in work:  # read once, here, so that the forked runs share the data
                for loader in (cfg.train_dataloader, cfg.val_dataloader):
                    read_data(loader.dataset.to_dict(), cfg.get('default_scope', 'mmpretrain'))
            pool = Pool(places * jobs, bar, title, len(work))
            for name, cfg, folder, result in work:
                pool.submit(name, lambda c=cfg, f=folder, r=result: execute(c, f, r), folder)
            pool.finish()
            if pool.failed:
                return pool.failed
    return []


def report(suite: Suite, out: Path, page: Path | None = None) -> None:
    """Write and print the tables of the finished runs."""
    out.mkdir(parents=True, exist_ok=True)
    rows = suite.rows
    atomic_write(''.join(f'{json.dumps(row)}\n' for row in rows).encode(), out / f'{suite.name}.jsonl')
    text = []
    for setting in suite.cfg.settings:
        results = Results(rows, setting)
        if not results.rows:
            continue
        title = f'### {setting}: top-1 (%), last step, mean ± standard deviation of {results.seeds} seeds'
        text.append(f'{title}; fewer seeds where a number in brackets says so\n')
        parts = [results.accuracy_table(), results.assistant_table(), results.cost_table()]
        if suite.cfg.get('compare') in results.methods:
            parts.insert(1, results.paired_table(suite.cfg.compare))
        for header, lines in parts:
            if lines:
                text.append(markdown(header, lines) + '\n')
                print(f'{setting}\n{table(header, lines)}\n')
        draw_gains(results, out / f'{suite.name}_{setting}.png')
    atomic_write('\n'.join(text).encode(), out / f'{suite.name}.md')
    if page:
        atomic_write(fill_page(page.read_text(), rows, suite.cfg.get('compare')).encode(), page)
    print(f'{len(rows)} of {len(suite.runs)} cells; tables and plots: {out}')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    name = Path(args.suite.split('::')[-1]).stem
    work_dir = Path(args.work_dir or f'work_dirs/benchmark/{name}')
    try:
        suite = Suite(args.suite, work_dir)
    except ValueError as error:
        raise SystemExit(f'{args.suite}: {error}') from error
    for file in args.known:
        if not Path(file).is_file():
            raise SystemExit(f'--known {file}: the file does not exist')
        print(f'{file}: {suite.adopt(file)} of the missing runs are known')
    failed = [] if args.no_run else run(suite, args)
    report(suite, Path(args.out or work_dir), args.page)
    for name, log in failed:
        errors = [line for line in log.read_text().splitlines() if re.match(r'[\w.]*(Error|Exception|Interrupt)', line)]
        print(f'FAILED: {name}: {errors[-1] if errors else "killed"} (see {log})', file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
