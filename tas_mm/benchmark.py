"""Suites of runs (methods x pairs x seeds): planning, running one of them, and the table of all.

A suite is a small config::

    pairs = dict(vit_to_cnn='tas_mm::benchmark/vit_to_cnn.py')  # its model a tas_mm.TAS; or dict(config=, options=)
    methods = dict(alone=None, kd='tas_mm::_base_/distillers/kd.py', tas=dict(type='tas_mm.TASDistiller'))
    settings = dict(few=dict(options={'train_dataloader.dataset.num_labelled': 1000}))
    seeds = 5
    compare = 'tas'  # with each of the others, seed by seed

Everything but the distiller is the same for all methods of a pair: data, recipe, steps, teacher.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from mmengine.runner.utils import set_random_seed

from tas_mm.checkpoint import go_on
from tas_mm.config import read_config
from tas_mm.measure import PeakMemory
from tas_mm.student import student_model

_read = cache(read_config)  # each file once, not once a run

ALONE = 'alone'
"""Name of the method that trains the student alone; gains are over it."""

METRIC = 'accuracy/top1'

TRAINED_BY = 'trained_by'
"""File beside a teacher that a suite has trained: the fingerprint of its config."""

TRAINED = (
    *('model', 'data_preprocessor', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'randomness'),
    *('val_dataloader', 'val_evaluator', 'val_cfg', 'custom_hooks', 'load_from', 'auto_scale_lr', 'sync_bn'),
)
"""Parts of a config that decide a result, beside its hooks. A run is known by them: to change what is logged repeats
nothing."""

CELL = ('setting', 'pair', 'method', 'seed', 'run')
"""What a raw line says besides the result: where it stands in the tables, and what the run is known by."""

LOGGED = ('timer', 'logger', 'checkpoint', 'visualization', 'progress_bar')
"""Default hooks that decide nothing."""


def fingerprint(cfg: Config, **more: Any) -> str:
    """A hash of what decides the result of a run (SHA-256, 12 hex digits)."""
    parts = {key: value for key, value in cfg.to_dict().items() if key in TRAINED}
    hooks = {key: hook for key, hook in cfg.get('default_hooks', {}).items() if key not in LOGGED}
    text = json.dumps({**parts, 'default_hooks': hooks, **more}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def put_distiller(cfg: Config, distiller: str | dict) -> None:
    """Give a pair another distiller; all else stays.

    Args:
        cfg (Config): Of the pair, whose model is a ``tas_mm.TAS``.
        distiller (str | dict): Config of a distiller, or a file that has one.
    """
    chosen = deepcopy(_read(distiller).distiller) if isinstance(distiller, str) else distiller
    # The size of the images is the pair's to say, where two CNNs do not declare it.
    size = {key: value for key, value in cfg.model.get('distiller', {}).items() if key == 'input_size'}
    cfg.model.distiller = dict(chosen, **size)


@cache
def _teacher_key(name: str) -> str:
    """Fingerprint of a teacher's config; each once, not once a run."""
    return fingerprint(_read(name))


@dataclass
class Run:
    """One training run of a suite.

    Attributes:
        setting, pair, method (str): Where it stands in the tables.
        seed (int): Seed of weights, order, augmentation and drawn labels.
        cfg (Config): Complete config, which ``tools/train.py`` runs too.
        dir (Path): Its folder. Cells that ask for the same run (a student alone, for several teachers) share it.
    """

    setting: str
    pair: str
    method: str
    seed: int
    cfg: Config
    dir: Path

    @property
    def file(self) -> Path:
        """The result, there once the run is finished."""
        return self.dir / 'result.json'

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, or None if the run is not finished."""
        return json.loads(self.file.read_text()) if self.file.exists() else None

    @property
    def name(self) -> str:
        return f'{self.setting}/{self.pair}/{self.method}/{self.seed}'

    @property
    def key(self) -> str:
        """What it is known by, wherever it runs: the fingerprint of its config."""
        return self.dir.name.rpartition('-')[2]


class Suite:
    """The runs of a suite, and the teachers that they need.

    Args:
        name (str): File of the suite.
        work_dir (str | Path): Folder of the suite's runs.

    Raises:
        ValueError: If a setting or ``compare`` names a method or pair that the suite does not have, or the config of
            a pair is no TAS.
    """

    def __init__(self, name: str, work_dir: str | Path) -> None:
        self.cfg = cfg = read_config(name)
        self.name = Path(name.split('::')[-1]).stem
        self.work_dir = Path(work_dir)
        self.runs: list[Run] = []
        self.teachers: dict[Path, Config] = {}
        if 'compare' in cfg:
            self._check(cfg.compare, 'methods', 'compare')
        for setting, values in cfg.settings.items():
            pairs = self._chosen(setting, values, 'pairs')
            methods = self._chosen(setting, values, 'methods')
            # Seed by seed, so that a suite cut short has something of everything.
            for seed in range(values.get('seeds', cfg.get('seeds', 1))):
                for pair in pairs:
                    self.runs += [self._run(setting, pair, method, seed) for method in methods]

    def _chosen(self, setting: str, values: ConfigDict, field: str) -> list[str]:
        chosen = list(values.get(field) or self.cfg[field])
        for name in chosen:
            self._check(name, field, f'settings.{setting}.{field}')
        return chosen

    def _check(self, name: str, field: str, key: str) -> None:
        if name not in self.cfg[field]:
            near = get_close_matches(name, self.cfg[field], n=3) or list(self.cfg[field])
            raise ValueError(f'{key} has {name!r}; the suite has {", ".join(near)}')

    def _run(self, setting: str, pair: str, method: str, seed: int) -> Run:
        given = self.cfg.pairs[pair]
        given = dict(config=given) if isinstance(given, str) else given
        cfg = deepcopy(_read(given['config']))
        for options in (given, self.cfg, self.cfg.settings[setting]):
            cfg.merge_from_dict(dict(options.get('options', {})))
        if cfg.model.get('type') != 'tas_mm.TAS':
            raise ValueError(f'pairs.{pair}: the model of {given["config"]} is no tas_mm.TAS')
        teacher = self._note_teacher(cfg.model)
        distiller = self.cfg.methods[method]
        if distiller is None:
            cfg.model = ConfigDict(student_model(cfg))
            teacher = None
        else:
            put_distiller(cfg, distiller)
        cfg.merge_from_dict({key: seed for key in self.cfg.get('seed_keys', ['randomness.seed'])})
        if self.cfg.get('evaluate_on', 'test') == 'test':
            cfg.val_dataloader, cfg.val_evaluator = cfg.test_dataloader, cfg.test_evaluator
        # Measured once, by us, after the last step: nothing is chosen by it.
        cfg.train_cfg.val_begin = 10**9
        for hook in ('progress_bar', 'check_teacher'):  # the suite has a bar of its own, and reads the teacher's once
            cfg.default_hooks.pop(hook, None)
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            cfg[loader].setdefault('collate_fn', dict(type='default_collate'))
        key = fingerprint(cfg, teacher=teacher)
        folder = next(iter(sorted((self.work_dir / 'runs').glob(f'*-{key}'))), None)
        known = next((run.dir for run in self.runs if run.dir.name.endswith(key)), None)
        folder = folder or known or self.work_dir / 'runs' / f'{setting}-{pair}-{method}-{seed}-{key}'
        return Run(setting, pair, method, seed, cfg, folder)

    def _note_teacher(self, model: ConfigDict) -> str | None:
        """Remember a teacher that is named by its config, whose weights are to be trained by the suite.

        Returns:
            str | None: The fingerprint of its config.

        Raises:
            ValueError: If the suite has trained it, but by another config than it has now.
        """
        checkpoint = model.get('teacher_ckpt')
        if not isinstance(model.teacher, str) or not checkpoint:
            return None
        key, folder = _teacher_key(model.teacher), Path(checkpoint).parent
        if Path(checkpoint) not in self.teachers:
            self.teachers[Path(checkpoint)] = _read(model.teacher)
            trained = folder / TRAINED_BY
            if trained.exists() and trained.read_text() != key:
                raise ValueError(
                    f'model.teacher_ckpt={checkpoint!r} was trained by another config than {model.teacher} is now; '
                    f'move the folder {folder} away to train it anew'
                )
        return key

    @property
    def missing(self) -> list[Run]:
        """Runs that are not finished, each once."""
        missing: dict[Path, Run] = {}
        for run in self.runs:
            if not run.file.exists():
                missing.setdefault(run.dir, run)
        return list(missing.values())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Results of the finished runs, one for each cell and seed of the tables."""
        return [
            dict(setting=run.setting, pair=run.pair, method=run.method, seed=run.seed, run=run.key, **run.result)
            for run in self.runs
            if run.file.exists()
        ]

    def adopt(self, file: str | Path) -> int:
        """Take over the results of missing runs from raw lines that were written elsewhere, with the same teachers.

        Args:
            file (str | Path): JSON lines, as ``rows`` are written.

        Returns:
            int: How many runs are finished by that.
        """
        rows = map(json.loads, Path(file).read_text().splitlines())
        known = {row['run']: row for row in rows if 'run' in row}
        found = [run for run in self.missing if run.key in known]
        for run in found:
            result = {key: value for key, value in known[run.key].items() if key not in CELL}
            run.dir.mkdir(parents=True, exist_ok=True)
            write(run.file, json.dumps(result))
        return len(found)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within it no other process trains in that folder; the claim ends with the process, however that ends.

    Raises:
        RuntimeError: If another one does.
    """
    import fcntl  # here, since the tables are for systems without it too

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'claimed').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f'{folder}: another process trains there; wait for it, or choose by --only') from error
        yield


def execute(cfg: Config, folder: Path, result: bool = True) -> None:
    """Train to the end, from the latest checkpoint in the folder if there is one, and write ``result.json``.

    Args:
        cfg (Config): What to train.
        folder (Path): Work folder.
        result (bool): Whether to validate and write the result; not for a teacher. Defaults to True.

    Raises:
        RuntimeError: If another process trains there.
    """
    with claimed(folder):
        _execute(cfg, folder, result)


def _execute(cfg: Config, folder: Path, result: bool) -> None:
    key = fingerprint(cfg)
    cfg.work_dir = str(folder)
    go_on(cfg, folder)
    cfg.experiment_name = folder.name
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    memory = PeakMemory(device)
    runner = Runner.from_cfg(cfg)
    trained = sum(p.numel() for p in runner.model.parameters() if p.requires_grad)
    student = getattr(runner.model, 'architecture', runner.model)
    memory.start()
    # Teacher and projector have drawn random numbers: let the student, which comes first, begin as it does alone.
    set_random_seed(cfg.get('randomness', {}).get('seed'))
    runner.train()
    peak = memory.stop()
    if not result:
        write(folder / TRAINED_BY, key)
        return
    metrics = runner.val_loop.run()  # runner.val() would begin the run's hooks anew, an average of weights among them
    times = [np.array(runner.message_hub.get_scalar(f'train/{key}').data[0]) for key in ('time', 'data_time')]
    record = dict(
        metrics={key: round(float(value), 3) for key, value in metrics.items() if key.endswith(METRIC)},
        seconds_per_step=float(np.median(times[0] - times[1])),
        peak_mib=round(peak, 1),
        trained_parameters=trained,
        added_parameters=trained - sum(p.numel() for p in student.parameters()),
        steps=runner.max_iters,
        device=torch.cuda.get_device_name() if device == 'cuda' else f'{platform.machine()} CPU, 1 process',
        torch=torch.__version__,
    )
    write(folder / 'result.json', json.dumps(record))


def write(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_suffix('.part')
    part.write_text(text)
    os.replace(part, path)


# ---- tables ------------------------------------------------------------------------------------------------------


@dataclass
class Cell:
    """Mean and standard deviation over seeds, in percent."""

    mean: float
    spread: float
    seeds: int

    def text(self, seeds: int, sign: str = '') -> str:
        """Mean, and deviation if there is one; with the number of seeds where it is not that of the table."""
        spread = f' ± {self.spread:.2f}' if self.seeds > 1 else ''
        return f'{self.mean:{sign}.2f}{spread}' + (f' ({self.seeds})' if self.seeds != seeds else '')


def cell_of(by_seed: dict[int, float]) -> Cell | None:
    """Mean and sample standard deviation, 0 for a single value; None without values."""
    values = np.array(list(by_seed.values()), dtype=float)
    return Cell(values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0, len(values)) if len(values) else None


def paired(values: dict[int, float], others: dict[int, float]) -> Cell | None:
    """By how much values are above others, seed by seed; None without a seed that both have."""
    return cell_of({seed: values[seed] - others[seed] for seed in values if seed in others})


class Results:
    """The finished runs of one setting, by method and pair.

    Args:
        rows (sequence): Those of a ``Suite``.
        setting (str): Which setting.
    """

    def __init__(self, rows: Sequence[dict], setting: str) -> None:
        self.rows = [row for row in rows if row['setting'] == setting]
        self.methods = list(dict.fromkeys(row['method'] for row in self.rows))
        self.pairs = list(dict.fromkeys(row['pair'] for row in self.rows))
        self.seeds = len({row['seed'] for row in self.rows})

    def of(self, method: str, pair: str, key: str = METRIC) -> dict[int, float]:
        """Seed -> a metric."""
        return {
            row['seed']: row['metrics'][key]
            for row in self.rows
            if row['method'] == method and row['pair'] == pair and key in row['metrics']
        }

    def means(self, method: str, key: str = METRIC) -> dict[int, float]:
        """Seed -> mean over all pairs, for the seeds that have them all."""
        by_pair = [self.of(method, pair, key) for pair in self.pairs]
        seeds = set.intersection(*map(set, by_pair)) if by_pair else set()
        return {seed: float(np.mean([values[seed] for values in by_pair])) for seed in sorted(seeds)}

    def gain(self, method: str) -> Cell | None:
        """Gain over the student alone of the mean over pairs, paired by seed."""
        return paired(self.means(method), self.means(ALONE))

    def pair_gain(self, method: str, pair: str) -> float | None:
        """Mean gain over the student alone on one pair."""
        gain = paired(self.of(method, pair), self.of(ALONE, pair))
        return gain.mean if gain else None

    def _texts(self, cells: Sequence[Cell | None], sign: str = '') -> list[str]:
        return [each.text(self.seeds, sign) if each else '-' for each in cells]

    def accuracy_table(self) -> tuple[list[str], list[list[str]]]:
        """Accuracy by method and pair, mean over pairs, gain over the student alone, and rank by that gain.

        What has fewer seeds than the table says so, and has no rank.
        """
        gains = {method: self.gain(method) for method in self.methods}
        whole = [method for method, gain in gains.items() if gain and gain.seeds == self.seeds]
        order = sorted(whole, key=lambda method: -gains[method].mean)
        lines = []
        for method in self.methods:
            cells = [cell_of(self.of(method, pair)) for pair in self.pairs] + [cell_of(self.means(method))]
            rank = str(1 + order.index(method)) if method in order else '-'
            lines.append([method, *self._texts(cells), *self._texts([gains[method]], '+'), rank])
        return ['method', *self.pairs, 'mean', f'gain over {ALONE}', 'rank'], lines

    def assistant_table(self) -> tuple[list[str], list[list[str]]]:
        """The assistants' accuracy, for the methods that have one, mean over the seeds."""
        lines = []
        for method in self.methods:
            cells = [cell_of(self.of(method, pair, f'assistant.{METRIC}')) for pair in self.pairs]
            if any(cells):
                lines.append([method, *self._texts(cells)])
        return ['assistant of', *self.pairs], lines

    def paired_table(self, method: str) -> tuple[list[str], list[list[str]]]:
        """By how much a method is above each of the others, on each pair and on the mean over pairs, paired by seed."""
        lines = []
        for other in self.methods:
            if other != method:
                cells = [paired(self.of(method, pair), self.of(other, pair)) for pair in self.pairs]
                cells.append(paired(self.means(method), self.means(other)))
                lines.append([other, *self._texts(cells, '+')])
        return [f'{method} less', *self.pairs, 'mean'], lines

    def cost_table(self, reference: str = 'kd') -> tuple[list[str], list[list[str]]]:
        """Seconds a step, peak memory and added parameters, medians over the runs; time and memory also as ratios."""
        lines = []
        for method in self.methods:
            values = [row for row in self.rows if row['method'] == method]
            line = [method]
            for key, form in (('seconds_per_step', '{:.3f}'), ('peak_mib', '{:.0f}')):
                line.append(form.format(np.median([row[key] for row in values])))
                ratios = [
                    row[key] / other[key]
                    for row in values
                    for other in self.rows
                    if other['method'] == reference and (other['pair'], other['seed']) == (row['pair'], row['seed'])
                ]
                line.append(f'{np.median(ratios):.2f}' if ratios else '-')
            line.append(f'{np.median([row["added_parameters"] for row in values]):,.0f}')
            lines.append(line)
        return ['method', 's/step', f'x {reference}', 'peak MiB', f'x {reference}', 'added parameters'], lines
