"""Runs that are killed at any moment resume, and end bit for bit as if they had not been killed.

``make test`` kills a few; ``make test-kill`` kills often.
"""

from __future__ import annotations

import functools
import random
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from tas_mm.engine.checkpoints import find_corruption
from tests.integration import runs

WORKERS = 'train_dataloader.update(num_workers=2, persistent_workers={})\n'
KINDS = {
    'epochs': '',
    'iterations, data workers': runs.BY_ITERATION + WORKERS.format(False),
    'checkpoints within epochs, lasting data workers': WORKERS.format(True)
    + "default_hooks['checkpoint'].update(by_epoch=False, interval=1)\ntrain_cfg.update(val_interval=2)\n",
}


PLACES = ('cfg', 'experiment_name', 'mmengine_version')
"""Keys in which MMEngine stores how and from where a run was started."""


class Reference(NamedTuple):
    """An uninterrupted run."""

    config: Path
    work_dir: Path
    lines: int
    changes: int


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    """Uninterrupted runs of each kind, made when they are first asked for."""
    runs.warm_up()

    @functools.cache
    def reference(kind: str) -> Reference:
        folder = tmp_path_factory.mktemp('reference')
        config, work_dir = runs.config(folder, KINDS[kind]), folder / 'run'
        runs.finish(config, work_dir)
        return Reference(config, work_dir, runs.lines(work_dir), int((work_dir / 'changes').read_text()))

    return reference


def final(work_dir: Path) -> dict:
    """All that the last checkpoint of a run holds, but for what depends on the clock and on where it is."""
    checkpoint = torch.load((work_dir / 'last_checkpoint').read_text(), weights_only=False)
    best = torch.load(next(work_dir.glob('best_*')), weights_only=False)
    hub = checkpoint['message_hub']
    clock = ('time', 'memory', 'eta')
    return {
        **{key: checkpoint[key] for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')},
        'place': [checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed', 'steps_done', 'teacher')],
        'log': {key: value for key, value in hub['log_scalars'].items() if not key.endswith(clock)},
        'info': {key: value for key, value in hub['runtime_info'].items() if key not in PLACES},
        'best': best['state_dict'],
    }


def differences(a, b, where: str = '') -> list[str]:
    """The names of what is not bit-equal."""
    if isinstance(a, HistoryBuffer):
        a, b = list(map(np.asarray, a.data)), list(map(np.asarray, b.data))
    if isinstance(a, dict) and a.keys() == b.keys():
        return sum((differences(a[key], b[key], f'{where}.{key}') for key in a), [])
    if isinstance(a, (list, tuple)) and len(a) == len(b):
        return sum((differences(x, y, f'{where}.{i}') for i, (x, y) in enumerate(zip(a, b))), [])
    if isinstance(a, torch.Tensor):
        same = torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        same = np.array_equal(a, b, equal_nan=True)
    elif isinstance(a, str) and a.endswith('.pth'):
        same = Path(a).name == Path(b).name
    else:
        same = a == b
    return [] if same else [f'{where}: {a!r:.80} and {b!r:.80}']


def names(work_dir: Path) -> set[str]:
    return {path.name for path in work_dir.glob('*.pth*')}


@pytest.mark.parametrize('kind', KINDS)
def test_two_runs_are_one(reference, tmp_path, kind):
    """Same seed, same machine: the same log and the same end."""
    config, work_dir, *_ = reference(kind)
    runs.finish(config, tmp_path)
    assert runs.scalars(tmp_path) == runs.scalars(work_dir)
    assert differences(final(tmp_path), final(work_dir)) == []


@pytest.mark.parametrize('number', [*range(3), *(pytest.param(n, marks=pytest.mark.kill) for n in range(3, 24))])
def test_a_killed_run_ends_as_if_it_had_not_been(reference, tmp_path, record_property, number):
    """Killed anywhere, or when a file is half written, written, renamed or removed; the later ones killed twice."""
    moment = random.Random(number)
    config, work_dir, lines, changes = reference([*KINDS][number % len(KINDS)])
    killed = 0
    for _ in range(1 + number // 12):
        anywhere = number % 2
        process = runs.start(config, tmp_path, die_at=0 if anywhere else moment.randint(1, changes - 1))
        if anywhere:
            runs.wait(process, tmp_path, moment.randint(0, lines - 1))
            process.join(moment.uniform(0, 0.1))
            process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0), (tmp_path / 'printed').read_text()[-3000:]
        killed += process.exitcode == -signal.SIGKILL
        if (last := tmp_path / 'last_checkpoint').exists():
            assert find_corruption(last.read_text()) is None
    record_property('killed', killed)
    runs.finish(config, tmp_path)
    assert differences(final(tmp_path), final(work_dir)) == []
    assert runs.scalars(tmp_path) == runs.scalars(work_dir)
    assert 'is not defined in message_hub' not in (tmp_path / 'printed').read_text()
    assert names(tmp_path) >= names(work_dir)
    assert not list(tmp_path.glob('*.tmp'))
