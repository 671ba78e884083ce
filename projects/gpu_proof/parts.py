"""The parts, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tas_mm.analysis.benchmark.fingerprint import fingerprint
from tas_mm.recipes.methods import find_method, put_method, read_once

from . import checks, steps, suite, training
from .setup import Setup
from .steps import Rows

LIMIT = 600.0
"""Seconds after which a part is stopped."""
SETTINGS = ('labels_1000', 'labels_55000')
SUITE_PAIRS = ('vit_to_cnn', 'swin_to_cnn', 'mixer_to_cnn', 'cnn_to_vit', 'cnn_to_mixer', 'cnn_to_cnn')
KEPT_TEACHERS = 'docs/benchmark/teachers'
"""Folder of the benchmark's trained teachers."""


@dataclass(frozen=True)
class Part:
    """Part of the proof, which runs in a process of its own.

    Attributes:
        kind (str): What it measures; parts of a kind share a table.
        options (dict): What distinguishes it from others of its kind.
        run (callable): Called with the setup; returns rows, and whether it is finished.
        needs (float): Seconds that it takes, roughly. It does not start with less time.
        configs (tuple): Fingerprints of the configs that decide its result.
    """

    kind: str
    options: dict[str, Any]
    run: Callable[[Setup], tuple[Rows, bool]]
    needs: float = 60.0
    configs: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Name for ``--only`` and for the tables."""
        return '/'.join([self.kind, *map(str, self.options.values())])

    def key_options(self, setup: Setup) -> dict[str, Any]:
        """Return all that decides the result, beside device and versions."""
        sizes = dict(tiny=setup.tiny, rounds=setup.rounds, workers=setup.workers, repeats=setup.repeats)
        return dict(kind=self.kind, options=self.options, configs=self.configs, **sizes)


def all_parts(setup: Setup, out: Path) -> list[Part]:
    """List the parts in their order: what is quick and decides whether the rest is worth running comes first.

    Args:
        setup (Setup): Where they run.
        out (Path): Folder of the results.
    """
    pairs = {pair: _fingerprints(setup, pair) for pair in setup.pairs}
    first = next(iter(pairs))
    scaled = ('float32', 'float16') if setup.device == 'cuda' else ('float32',)
    parts = [Part('doctor', {}, _whole(checks.doctor_rows))]
    parts += _grid(setup, pairs, 'step', steps.step_rows, False, 60)
    for kind, function in (('agreement', checks.agreement_rows), ('export', checks.export_rows)):
        parts += [_of_pair(kind, function, pair, configs) for pair, configs in pairs.items()]
    parts += [Part('resume', dict(precision=name), _whole(training.resume_rows, precision=name)) for name in scaled]
    for name in scaled:
        run = _whole(training.group_rows, pair=first, precision=name)
        parts.append(Part('group', dict(pair=first, precision=name), run, configs=pairs[first]))
    parts += [_of_pair('teacher', checks.teacher_rows, pair, configs) for pair, configs in pairs.items()]
    parts += list(_kept_teachers(setup))
    parts.append(_of_pair('loader', training.loader_rows, first, pairs[first]))
    parts += [_of_pair('graphs', steps.graph_rows, pair, configs) for pair, configs in pairs.items()]
    parts += _grid(setup, pairs, 'step', steps.step_rows, True, 240)
    parts += _grid(setup, pairs, 'epoch', training.epoch_rows, False, 90)
    parts += _grid(setup, pairs, 'epoch', training.epoch_rows, True, 240)
    cells = [f'{setting}/{pair}' for setting in SETTINGS for pair in SUITE_PAIRS]
    for cell in ['digits/vit_to_cnn'] if setup.tiny else cells:
        parts.append(Part('suite', dict(cell=cell), partial(suite.suite_rows, out=out, cell=cell), 120))
    return [replace(part, needs=0) for part in parts] if setup.tiny else parts


def _fingerprints(setup: Setup, pair: str) -> tuple[str, ...]:
    found = []
    for method in ('kd', 'tas', 'tas_lean'):
        cfg = deepcopy(read_once(setup.pairs[pair]))
        put_method(cfg, find_method(method))
        found.append(fingerprint(cfg))
    return tuple(found)


def _whole(function: Callable[..., Rows], **options: Any) -> Callable[[Setup], tuple[Rows, bool]]:
    """Wrap a function that is finished when it returns."""

    def run(setup: Setup) -> tuple[Rows, bool]:
        return function(setup, **options), True

    return run


def _of_pair(kind: str, function: Callable[..., Rows], pair: str, configs: tuple[str, ...]) -> Part:
    return Part(kind, dict(pair=pair), _whole(function, pair=pair), configs=configs)


def _grid(
    setup: Setup,
    pairs: dict[str, tuple[str, ...]],
    kind: str,
    function: Callable[..., Rows],
    compiled: bool,
    needs: float,
) -> Iterator[Part]:
    """Yield parts for each type, batch size and pair."""
    for precision in setup.precisions:
        for batch_size in setup.batch_sizes:
            for pair, configs in pairs.items():
                options = dict(pair=pair, precision=precision, batch_size=batch_size)
                run = _whole(function, compiled=compiled, **options)
                shown = dict(options, mode='compiled' if compiled else 'eager')
                yield Part(kind, shown, run, needs, configs)


def _kept_teachers(setup: Setup) -> Iterator[Part]:
    """Yield parts for the trained teachers, where there is data for them."""
    if setup.tiny or not (setup.data / 'fashion_mnist').is_dir():
        return
    for path in sorted(Path(KEPT_TEACHERS).glob('*/*.pth')):
        run = _whole(checks.kept_teacher_rows, checkpoint=str(path))
        yield Part('teacher', dict(pair=f'trained {path.parent.name}'), run)
