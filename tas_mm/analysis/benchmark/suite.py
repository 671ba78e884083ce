"""Suites of runs: methods x pairs x seeds.

A suite is a small config::

    pairs = dict(vit_to_cnn='tas_mm::benchmark/vit_to_cnn.py')  # the model is a tas_mm.TAS; or dict(config=, options=)
    methods = dict(alone=None, kd='tas_mm::_base_/distillers/kd.py', tas=dict(type='tas_mm.TASDistiller'))
    settings = dict(few=dict(options={'train_dataloader.dataset.num_labeled': 1000}))
    seeds = 5
    compare = 'tas'  # with each other method, seed by seed

All methods of a pair share everything but the distiller: data, recipe, steps, teacher.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from tas_mm.config import read_config
from tas_mm.engine.checkpoints import atomic_write
from tas_mm.recipes.methods import put_method, read_once

from .fingerprint import fingerprint
from .run import RESULT, TRAINED_BY

CELL = ('setting', 'pair', 'method', 'seed', 'run')
"""Keys of a raw line besides the result: the cell of the tables, and the fingerprint of the run."""

OWN_HOOKS = ('progress_bar', 'check_teacher')
"""Hooks that a suite replaces: it shows its own progress bar, and reads each teacher once."""


@cache
def _teacher_key(name: str) -> str:
    """Return the fingerprint of a teacher's config, cached."""
    return fingerprint(read_once(name))


@dataclass
class Run:
    """One training run of a suite.

    Attributes:
        setting, pair, method (str): Cell of the tables.
        seed (int): Seed of weights, order, augmentation and selected labels.
        cfg (Config): Complete config, which ``tools/train.py`` can run too.
        dir (Path): Folder of the run. Cells that need the same run (a student alone, for several teachers) share it.
    """

    setting: str
    pair: str
    method: str
    seed: int
    cfg: Config
    dir: Path

    @property
    def file(self) -> Path:
        """File of the result, which exists when the run is finished."""
        return self.dir / RESULT

    @property
    def result(self) -> dict[str, Any] | None:
        """Result, or None if the run is not finished."""
        return json.loads(self.file.read_text()) if self.file.exists() else None

    @property
    def name(self) -> str:
        """Name of the run, for ``--only`` and for errors."""
        return f'{self.setting}/{self.pair}/{self.method}/{self.seed}'

    @property
    def key(self) -> str:
        """Fingerprint of the config, which identifies results from elsewhere."""
        return self.dir.name.rpartition('-')[2]


class Suite:
    """Runs of a suite, and the teachers that they need.

    Args:
        name (str): File of the suite.
        work_dir (str | Path): Folder of the suite's runs.

    Raises:
        ValueError: If a setting or ``compare`` names an unknown method or pair, or if a pair's model is not a TAS.

    Examples:
        >>> from tas_mm.analysis.benchmark.suite import Suite
        >>> suite = Suite('tas_mm::benchmark/suites/smoke.py', 'work_dirs/benchmark/smoke')
        >>> suite.runs[0].name
        'digits/vit_to_cnn/alone/0'
    """

    def __init__(self, name: str, work_dir: str | Path) -> None:
        self.cfg = cfg = read_config(name)
        self.name = Path(name.split('::')[-1]).stem
        self.work_dir = Path(work_dir)
        self.runs: list[Run] = []
        # Folders of runs, by fingerprint: those of earlier calls, and each new one.
        self.folders = {
            path.name.rpartition('-')[2]: path for path in sorted((self.work_dir / 'runs').glob('*'), reverse=True)
        }
        self.teachers: dict[Path, Config] = {}
        if 'compare' in cfg:
            self._check(cfg.compare, 'methods', 'compare')
        for setting, values in cfg.settings.items():
            pairs = self._chosen(setting, values, 'pairs')
            methods = self._chosen(setting, values, 'methods')
            # Seed by seed, so that an interrupted suite has results of every cell.
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
            raise ValueError(f'{key}: unknown name {name!r}. Expected one of {", ".join(near)}')

    def _run(self, setting: str, pair: str, method: str, seed: int) -> Run:
        cfg = self._pair(setting, pair)
        teacher = self._put_method(cfg, method)
        cfg.merge_from_dict({key: seed for key in self.cfg.get('seed_keys', ['randomness.seed'])})
        if self.cfg.get('evaluate_on', 'test') == 'test':
            cfg.val_dataloader, cfg.val_evaluator = cfg.test_dataloader, cfg.test_evaluator
        # Measured once, after the last step, so that no choice depends on it.
        cfg.train_cfg.val_begin = 10**9
        for hook in OWN_HOOKS:
            cfg.default_hooks.pop(hook, None)
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            cfg[loader].setdefault('collate_fn', dict(type='default_collate'))
        key = fingerprint(cfg, teacher=teacher)
        return Run(setting, pair, method, seed, cfg, self._folder(key, f'{setting}-{pair}-{method}-{seed}'))

    def _pair(self, setting: str, pair: str) -> Config:
        """Read the config of a pair, with the options of pair, suite and setting."""
        given = self.cfg.pairs[pair]
        given = dict(config=given) if isinstance(given, str) else given
        cfg = deepcopy(read_once(given['config']))
        for options in (given, self.cfg, self.cfg.settings[setting]):
            cfg.merge_from_dict(dict(options.get('options', {})))
        if cfg.model.get('type') != 'tas_mm.TAS':
            raise ValueError(f'pairs.{pair}: the model of {given["config"]} is not a tas_mm.TAS')
        return cfg

    def _put_method(self, cfg: Config, method: str) -> str | None:
        """Put a method into a pair's config. Return the fingerprint of the teacher's config."""
        teacher = self._note_teacher(cfg.model)
        put_method(cfg, self.cfg.methods[method])
        return None if self.cfg.methods[method] is None else teacher

    def _folder(self, key: str, name: str) -> Path:
        """Return the folder of a run: that of the same run in the suite or from an earlier call, or a new one."""
        return self.folders.setdefault(key, self.work_dir / 'runs' / f'{name}-{key}')

    def _note_teacher(self, model: ConfigDict) -> str | None:
        """Record a teacher that is named by its config, and whose weights the suite trains if they are missing.

        Returns:
            str | None: Fingerprint of its config.

        Raises:
            ValueError: If the suite trained it with a config other than the current one.
        """
        checkpoint = model.get('teacher_ckpt')
        if not isinstance(model.teacher, str) or not checkpoint:
            return None
        key, folder = _teacher_key(model.teacher), Path(checkpoint).parent
        if Path(checkpoint) not in self.teachers:
            self.teachers[Path(checkpoint)] = read_once(model.teacher)
            trained = folder / TRAINED_BY
            if trained.exists() and trained.read_text() != key:
                raise ValueError(
                    f'model.teacher_ckpt={checkpoint!r} was trained by another config than {model.teacher} is now. '
                    f'Move the folder {folder} away to train it again'
                )
        return key

    @property
    def missing(self) -> list[Run]:
        """Runs that are not finished, without repetitions."""
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
        """Adopt results of missing runs from raw lines that were written elsewhere with the same teachers.

        They are marked as such: times and memory of another machine compare with nothing here.

        Args:
            file (str | Path): JSON lines, in the form of ``rows``.

        Returns:
            int: Number of runs that are now finished.
        """
        rows = map(json.loads, Path(file).read_text().splitlines())
        known = {row['run']: row for row in rows if 'run' in row}
        found = [run for run in self.missing if run.key in known]
        for run in found:
            result = {key: value for key, value in known[run.key].items() if key not in CELL} | dict(elsewhere=True)
            run.dir.mkdir(parents=True, exist_ok=True)
            atomic_write(json.dumps(result).encode(), run.file)
        return len(found)
