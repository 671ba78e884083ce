"""Compare what a small RetinaNet of tree crowns gains by distillation, before it is trained or inside of it.

    make .venv/detection tree-crowns
    python projects/tree_crowns/compare.py --seeds 5

Rows of one seed see the same tiles with boxes for the same number of steps, all but the last four in one order:

- scratch: the backbone starts from random weights;
- alone: from a student that learned to tell crops of the labeled tiles apart;
- distilled: from a student that an ImageNet MobileNetV2 taught on all training tiles, without labels;
- ceiling: the ImageNet MobileNetV2 itself is the backbone;
- tas, tas_maps, pkd, cwd: the backbone starts from random weights, and the ceiling's detector teaches inside the
  training;
- tas_unlabeled, cwd_unlabeled: the same, and as many tiles without boxes are in every batch beside;
- tas_scores, tas_pyramid: tas_unlabeled, with class scores, or the pyramid's levels by CWD, compared as well.

In the setting ``few`` a tenth of the training tiles, drawn by the seed, has boxes, and a tenth of the crops has labels;
in ``all`` every one has. Every detector appends a line to results.jsonl and is not repeated; an interrupted training
resumes. --table prints means over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock

import numpy as np

from tas_mm.analysis.logs import read_run
from tas_mm.analysis.tables import markdown

PROJECT = Path(__file__).resolve().parent
CONFIGS = PROJECT / 'configs'
TRAIN = PROJECT.parents[1] / 'tools' / 'train.py'
OUT = PROJECT / 'results.jsonl'
SHARES = dict(few=0.1, all=1.0)
"""Settings, and the share of the training tiles that has boxes."""
COUNTS = dict(tiles=269, crops=891)
METRICS = dict(mAP='coco/bbox_mAP', AP50='coco/bbox_mAP_50')


@dataclass(frozen=True)
class Row:
    """How the detector of a row is trained.

    Attributes:
        config: Its config, without the common prefix.
        student: Config that trains its backbone first; None: the config says where it starts.
        teacher: Row of the detector that teaches it.
        tiles: Where its training dataloader has the tiles with boxes.
    """

    config: str = 'retinanet_crowns'
    student: str | None = None
    teacher: str | None = None
    tiles: str = 'dataset'


ROWS = dict(
    scratch=Row(),
    alone=Row(student='crowns_alone'),
    distilled=Row(student='crowns_label_free'),
    ceiling=Row('retinanet_crowns_mobilenetv2'),
    tas=Row('retinanet_crowns_tas', teacher='ceiling'),
    tas_maps=Row('retinanet_crowns_tas_maps', teacher='ceiling'),
    pkd=Row('retinanet_crowns_pkd', teacher='ceiling'),
    cwd=Row('retinanet_crowns_cwd', teacher='ceiling'),
    tas_unlabeled=Row('retinanet_crowns_tas_unlabeled', teacher='ceiling', tiles='dataset.datasets.0'),
    tas_scores=Row('retinanet_crowns_tas_scores', teacher='ceiling', tiles='dataset.datasets.0'),
    tas_pyramid=Row('retinanet_crowns_tas_pyramid', teacher='ceiling', tiles='dataset.datasets.0'),
    cwd_unlabeled=Row('retinanet_crowns_cwd_unlabeled', teacher='ceiling', tiles='dataset.datasets.0'),
)


class Comparison:
    """Trains what rows need, each thing once, in work folders named after setting, seed and row."""

    def __init__(self, work_dir: Path, out: Path, pretraining_steps: int, steps: int) -> None:
        self.work_dir, self.out = work_dir, out
        self.pretraining_steps, self.steps = pretraining_steps, steps
        self.locks: defaultdict[Path, Lock] = defaultdict(Lock)
        self.writing, self.failed = Lock(), Event()

    def done(self) -> set[tuple]:
        """Return the cells that have a line with these numbers of steps."""
        lines = read_lines(self.out)
        steps = (self.steps, self.pretraining_steps)
        return {cell_of(line) for line in lines if (line['steps'], line['pretraining_steps']) == steps}

    def run(self, cell: tuple[int, str, str]) -> None:
        """Train the detector of a cell ``(seed, setting, row)``, and append its result."""
        if self.failed.is_set():
            return
        seed, setting, name = cell
        try:
            folder = self.detector(seed, setting, name)
        except subprocess.CalledProcessError:
            self.failed.set()
            raise
        metrics = {key: round(100 * read_run(folder).last(metric), 2) for key, metric in METRICS.items()}
        line = dict(setting=setting, row=name, seed=seed, steps=self.steps, pretraining_steps=self.pretraining_steps)
        with self.writing, self.out.open('a') as file:
            file.write(json.dumps(line | metrics) + '\n')
        print(f'{setting}, seed {seed}, {name}: {metrics}', flush=True)

    def detector(self, seed: int, setting: str, name: str) -> Path:
        """Train the detector of a row, and what it needs, and return its work folder."""
        row = ROWS[name]
        options = drawn('tiles', setting, seed, row.tiles)
        if row.student:
            options += [f'model.backbone.init_cfg.checkpoint={self.student(row.student, seed, setting)}']
        elif row.teacher:
            teacher = self.detector(seed, setting, row.teacher) / f'iter_{self.steps}.pth'
            options += [f'model.teacher_ckpt={teacher}']
        elif name == 'scratch':
            options += ['model.backbone.init_cfg=None']
        return self.train(row.config, f'{setting}/seed{seed}/{name}', self.steps, seed, options)

    def student(self, config: str, seed: int, setting: str) -> Path:
        """Train a student, and return its file of weights; what has no labels is the same in every setting."""
        labeled = config == 'crowns_alone'
        options = drawn('crops', setting, seed) if labeled else []
        where = f'{setting if labeled else "no_labels"}/seed{seed}/{config}'
        folder = self.train(config, where, self.pretraining_steps, seed, options)
        return folder / f'{"" if labeled else "student_"}iter_{self.pretraining_steps}.pth'

    def train(self, config: str, where: str, steps: int, seed: int, options: list[str]) -> Path:
        """Train a config, unless that is done; resume an interrupted one."""
        folder = self.work_dir / where
        with self.locks[folder]:
            if (folder / f'iter_{steps}.pth').exists():
                return folder
            common = [f'train_cfg.max_iters={steps}', f'train_cfg.val_interval={steps}', f'randomness.seed={seed}']
            command = [sys.executable, '-W', 'ignore', TRAIN, CONFIGS / f'{config}.py', '--work-dir', folder]
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / 'output.txt').open('a') as output:
                print(f'training {folder}', flush=True)
                subprocess.run(
                    [*map(str, command), '--resume', '--cfg-options', *common, *options],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(os.environ, OMP_NUM_THREADS=os.environ.get('OMP_NUM_THREADS', '1')),
                    check=True,
                )
        return folder


def drawn(what: str, setting: str, seed: int, where: str = 'dataset') -> list[str]:
    """Return the option that keeps a setting's share of the training data, drawn by the seed."""
    if SHARES[setting] == 1:
        return []
    count = COUNTS[what]
    chosen = np.random.default_rng(seed).permutation(count)[: round(SHARES[setting] * count)]
    return [f'train_dataloader.{where}.indices={sorted(chosen.tolist())}'.replace(' ', '')]


def cell_of(line: dict) -> tuple[int, str, str]:
    """Return seed, setting and row of a line of results."""
    return line['seed'], line['setting'], line['row']


def read_lines(path: Path) -> list[dict]:
    """Read the results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table_of(lines: list[dict]) -> str:
    """Return mean and standard deviation over seeds, and the gain over two other rows, paired by seed."""
    groups: defaultdict[tuple, dict] = defaultdict(dict)
    for line in lines:
        groups[line['setting'], line['pretraining_steps'], line['steps'], line['row']][line['seed']] = line
    rows = []
    for (*group, row), by_seed in sorted(groups.items(), key=lambda item: (*item[0][:3], [*ROWS].index(item[0][3]))):
        cells = [spread([line[key] for line in by_seed.values()]) for key in METRICS]
        for other in ('scratch', 'alone'):
            paired = groups.get((*group, other), {}) if row != other else {}
            cells.append(spread([by_seed[seed]['mAP'] - paired[seed]['mAP'] for seed in by_seed.keys() & paired]))
        rows.append((*map(str, group), row, str(len(by_seed)), *cells))
    header = ('boxes', 'steps before', 'steps', 'row', 'seeds', 'mAP, %', 'AP50, %', 'mAP - scratch', 'mAP - alone')
    return markdown(header, rows)


def spread(values: list[float]) -> str:
    """Return mean and standard deviation as text."""
    if not values:
        return '-'
    return f'{np.mean(values):.1f}' + (f' ± {np.std(values, ddof=1):.1f}' if len(values) > 1 else '')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--settings', nargs='+', default=list(SHARES), choices=SHARES)
    parser.add_argument('--rows', nargs='+', default=list(ROWS), choices=ROWS)
    parser.add_argument('--seeds', type=int, default=3, help='seeds 0 to SEEDS - 1 (default: 3)')
    parser.add_argument('--pretraining-steps', type=int, default=2000, help="steps of a student's training")
    parser.add_argument('--steps', type=int, default=540, help='steps of a detector (default: 540)')
    parser.add_argument('--jobs', type=int, default=1, help='trainings side by side, one core each (default: 1)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/tree_crowns'))
    parser.add_argument('--out', type=Path, default=OUT, help='file of results (default: results.jsonl beside this)')
    parser.add_argument('--table', action='store_true', help='print the table and stop')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not args.table:
        comparison = Comparison(args.work_dir, args.out, args.pretraining_steps, args.steps)
        done = comparison.done()
        cells = [(seed, s, row) for seed in range(args.seeds) for s in args.settings for row in args.rows]
        cells = [cell for cell in cells if cell not in done]
        with ThreadPoolExecutor(args.jobs) as pool:
            try:
                list(pool.map(comparison.run, cells))
            except subprocess.CalledProcessError as error:
                folder = error.cmd[error.cmd.index('--work-dir') + 1]
                raise SystemExit(f'A training failed: {folder}/output.txt has its error') from error
    print(table_of(read_lines(args.out)))


if __name__ == '__main__':
    main()
