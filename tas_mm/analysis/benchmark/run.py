"""Train one run of a suite in its folder, and write its result."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.runner.utils import set_random_seed

from tas_mm.engine.checkpoints import atomic_write, resume_from_latest
from tas_mm.registry import DATASETS

from .fingerprint import fingerprint
from .memory import PeakMemory
from .results import METRIC

RESULT = 'result.json'
"""File with the result of a finished run."""

TRAINED_BY = 'trained_by'
"""File beside a teacher that a suite trained, with the fingerprint of its config."""


_DATA: dict[str, Any] = {}


def read_data(dataset: dict[str, Any], scope: str = 'mmpretrain') -> Any:
    """Read a data set once per process. Return its config with the data in place of the innermost dict.

    Runs that are forked from this process share the memory.

    Args:
        dataset (dict): Config of a data set, which may be a wrapper around another.
        scope (str): ``default_scope`` of the config. Defaults to ``'mmpretrain'``.
    """
    if isinstance(dataset.get('dataset'), dict):
        return dict(dataset, dataset=read_data(dataset['dataset'], scope))
    key = f'{scope} {dataset}'
    if key not in _DATA:
        with DefaultScope.overwrite_default_scope(scope):
            _DATA[key] = DATASETS.build(deepcopy(dataset))
    return _DATA[key]


class SharingRunner(Runner):
    """Runner whose loaders use data that this process, or its parent, has already read."""

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """Build a loader on data that is read once for all runs."""
        if isinstance(dataloader, dict) and isinstance(dataloader['dataset'], dict):
            scope = DefaultScope.get_current_instance().scope_name
            dataloader = dict(dataloader, dataset=read_data(dataloader['dataset'], scope))
        return Runner.build_dataloader(dataloader, *args, **kwargs)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder. The claim ends with the process, however it ends.

    Raises:
        RuntimeError: If another process is training there.
    """
    import fcntl  # not at the top, because tables can be made on systems without it

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'claimed').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f'{folder}: another process is training there. Wait for it, or select runs with --only'
            ) from error
        yield


def execute(cfg: Config, folder: Path, result: bool = True) -> None:
    """Train to the end, from the latest checkpoint in the folder if there is one, and write ``result.json``.

    Args:
        cfg (Config): Config of the run.
        folder (Path): Work folder.
        result (bool): Whether to validate and write the result, False for a teacher. Defaults to True.

    Raises:
        RuntimeError: If another process is training there.
    """
    with claimed(folder):
        key = fingerprint(cfg)
        runner = _runner(cfg, folder)
        peak = _train(runner)
        if result:
            atomic_write(json.dumps(_record(runner, peak)).encode(), folder / RESULT)
        else:
            atomic_write(key.encode(), folder / TRAINED_BY)


def _runner(cfg: Config, folder: Path) -> Runner:
    cfg.work_dir = str(folder)
    resume_from_latest(cfg, folder)
    cfg.experiment_name = folder.name
    return SharingRunner.from_cfg(cfg)


def _train(runner: Runner) -> float:
    """Train, and return the peak memory in MiB."""
    memory = PeakMemory('cuda' if torch.cuda.is_available() else 'cpu')
    memory.start()
    # Building teacher and projector drew random numbers. Initialize the student as if it were alone.
    set_random_seed(runner.cfg.get('randomness', {}).get('seed'))
    runner.train()
    return memory.stop()


def _record(runner: Runner, peak: float) -> dict[str, Any]:
    """Validate, and collect the values that the tables need."""
    metrics = runner.val_loop.run()  # runner.val() would start the run's hooks again, such as weight averaging
    times = [np.array(runner.message_hub.get_scalar(f'train/{key}').data[0]) for key in ('time', 'data_time')]
    trained = sum(p.numel() for p in runner.model.parameters() if p.requires_grad)
    student = getattr(runner.model, 'architecture', runner.model)
    on_gpu = torch.cuda.is_available()
    return dict(
        metrics={key: round(float(value), 3) for key, value in metrics.items() if key.endswith(METRIC)},
        seconds_per_step=float(np.median(times[0] - times[1])),
        peak_mib=round(peak, 1),
        trained_parameters=trained,
        added_parameters=trained - sum(p.numel() for p in student.parameters()),
        steps=runner.max_iters,
        device=torch.cuda.get_device_name() if on_gpu else f'{platform.machine()} CPU, 1 process',
        torch=torch.__version__,
    )
