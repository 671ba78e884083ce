"""Parts that train: an epoch on photos, the loader alone, a group of one process, a run that is killed and resumed."""

from __future__ import annotations

import os
import socket
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from tas_mm.analysis.benchmark.memory import PeakMemory
from tas_mm.engine.checkpoints import read_checkpoint
from tas_mm.engine.launch import add_common_options, load_config, train
from tas_mm.models.utils import unwrap

from .photos import make_photos
from .setup import METHODS, PLAIN_KD, Setup, set_precision, training
from .steps import Rows

WARM_UP = 4
"""Steps of an epoch that do not count."""
SAME_LOSSES = 1e-3
"""Largest difference of the losses of one process with and without a group, relative to the loss."""


def prepare(setup: Setup) -> None:
    """Write the photos, if they are not there."""
    folder = setup.data / 'photos'
    make_photos(folder, *((8, 2, (64, 48)) if setup.tiny else ()))


# ---- an epoch -------------------------------------------------------------------------------------------------------


def epoch_rows(setup: Setup, pair: str, precision: str, compiled: bool, batch_size: int) -> Rows:
    """Train an epoch on photos as ``tools/train.py`` would, by KD in plain MMRazor, KD and TAS.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair.
        precision (str): ``'float32'`` (TF32 on a GPU), ``'bfloat16'`` or ``'float16'``.
        compiled (bool): Whether ``torch.compile`` compiles the networks; plain MMRazor's never are.
        batch_size (int): Images in a step.
    """
    prepare(setup)
    set_precision(tf32=True)
    rows = []
    for method in METHODS[:3]:
        cfg = training(setup, pair, method, precision, batch_size, setup.repeats)
        if compiled and method != PLAIN_KD:
            cfg.model.compile = setup.compile
        cfg.experiment_name = f'epoch_{pair}_{method.replace(":", "_")}'
        cfg.work_dir = str(setup.work / cfg.experiment_name)
        memory = PeakMemory(setup.device)
        memory.start()
        runner = _train(cfg)
        times, loading = (_logged(runner, key)[_warm_up(runner) :] for key in ('time', 'data_time'))
        losses = _logged(runner, 'loss')
        rows.append(
            dict(
                method=method,
                images_per_second=batch_size / times.mean(),
                loader_share=loading.sum() / times.sum(),
                peak_mib=memory.stop(),
                steps=len(losses),
                first_loss=losses[0],
                last_loss=losses[-1],
            )
        )
        del runner
    speeds = {row['method']: row['images_per_second'] for row in rows}
    return [
        dict(row, x_kd=speeds['kd'] / row['images_per_second'], x_plain_kd=speeds[PLAIN_KD] / row['images_per_second'])
        for row in rows
    ]


def _train(cfg: Config) -> Runner:
    runner = Runner.from_cfg(cfg)
    train(runner)
    return runner


def _logged(runner: Runner, key: str) -> np.ndarray:
    return np.array(runner.message_hub.get_scalar(f'train/{key}').data[0], dtype=float)


def _warm_up(runner: Runner) -> int:
    return min(WARM_UP, runner.max_iters // 2)


def loader_rows(setup: Setup, pair: str) -> Rows:
    """Load photos without training, by different numbers of processes.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair whose images are loaded.
    """
    prepare(setup)
    rows = []
    for workers in sorted({setup.workers // 4, setup.workers // 2, setup.workers}):
        cfg = training(setup, pair, 'kd', 'float32', setup.batch_sizes[0], setup.repeats)
        cfg.train_dataloader.update(num_workers=workers, persistent_workers=workers > 0)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            loader = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
        next(loader)
        start = time.perf_counter()
        number = sum(len(batch['inputs']) for batch in loader)
        rows.append(dict(workers=workers, images_per_second=number / (time.perf_counter() - start)))
    return rows


# ---- a group of one process -----------------------------------------------------------------------------------------


def group_rows(setup: Setup, pair: str, precision: str) -> Rows:
    """Train in a group of one process (NCCL on a GPU) with DDP, SyncBN, EMA and accumulated gradients.

    The same run without a group has the same losses: SyncBN over one process is batch norm. Without a GPU there is no
    SyncBN, which torch does not allow there.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair.
        precision (str): ``'float32'``, ``'bfloat16'`` or ``'float16'``.

    Raises:
        RuntimeError: If something of it is not in use, or the losses differ by more than ``SAME_LOSSES`` in float32.
    """
    prepare(setup)
    set_precision(tf32=False)
    cfg = training(setup, pair, 'tas', precision, setup.batch_sizes[0], 1 if setup.tiny else 4)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    alone = _logged(_launch(cfg, setup, 'none'), 'loss')
    if setup.device == 'cuda':
        cfg.sync_bn = 'torch'
    runner = _launch(cfg, setup, 'pytorch')
    losses, model = _logged(runner, 'loss'), unwrap(runner.model)
    student, teacher = (
        sum(isinstance(module, nn.SyncBatchNorm) for module in network.modules())
        for network in (model.student, model.teacher.network)
    )
    checkpoint = read_checkpoint(str(setup.work / f'group_{precision}_pytorch' / 'epoch_1.pth'))
    found = dict(
        backend=torch.distributed.get_backend(),
        wrapper=type(runner.model).__name__,
        sync_bn_student=student,
        sync_bn_teacher=teacher,
        ema='ema_state_dict' in checkpoint,
        accumulated=runner.optim_wrapper._accumulative_counts,
        loss_scale=float(getattr(getattr(runner.optim_wrapper, 'loss_scaler', None), 'get_scale', lambda: 1.0)()),
        first_loss_differs_by=abs(losses[0] - alone[0]) / alone[0],
        losses_differ_by=float(np.max(np.abs(losses - alone) / alone)),
        steps=len(losses),
    )
    torch.distributed.destroy_process_group()
    expected = dict(wrapper='MMDistributedDataParallel', sync_bn_teacher=0, ema=True, accumulated=2)
    expected.update(backend='nccl') if setup.device == 'cuda' else None
    wrong = {key: found[key] for key, value in expected.items() if found[key] != value}
    if setup.device == 'cuda' and not student:
        wrong['sync_bn_student'] = student
    if precision == 'float32' and not found['first_loss_differs_by'] <= SAME_LOSSES:
        wrong['first_loss_differs_by'] = found['first_loss_differs_by']
    if wrong:
        raise RuntimeError(f'expected {expected}; got {wrong} of {found}')
    return [dict(precision=precision, **found)]


def _launch(cfg: Config, setup: Setup, launcher: str) -> Runner:
    """Train by the route of ``tools/train.py``, which also makes a group without a GPU."""
    precision = cfg.optim_wrapper.get('dtype', 'float32')
    folder = setup.work / f'group_{precision}_{launcher}'
    folder.mkdir(parents=True, exist_ok=True)
    cfg.experiment_name = folder.name
    cfg.dump(str(folder / 'run.py'))
    if launcher == 'pytorch':
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        os.environ.update(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    parser = ArgumentParser()
    add_common_options(parser)
    options = [str(folder / 'run.py'), '--work-dir', str(folder), '--launcher', launcher]
    return _train(load_config(parser.parse_args(options)))


# ---- killed and resumed ---------------------------------------------------------------------------------------------


def resume_rows(setup: Setup, precision: str) -> Rows:
    """Kill a small run, resume it, and compare its end with that of two runs that were not killed.

    Some kernels of a GPU are not deterministic, so two runs may differ. A resumed run may differ by about as much.

    Args:
        setup (Setup): Where it runs.
        precision (str): ``'float32'`` or ``'float16'``, whose loss is scaled.

    Raises:
        RuntimeError: If the resumed run differs by more than ten times as much as two runs do.
    """
    from tests.integration import runs

    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    folder = setup.work / f'resume_{precision}_{time.time_ns()}'
    folder.mkdir(parents=True)
    config = runs.config(folder, "default_hooks['checkpoint'].update(by_epoch=False, interval=1)\n")
    options = [] if precision == 'float32' else ['--amp', precision]
    for name in ('first', 'second'):
        runs.finish(config, folder / name, *options)
    process = runs.start(config, folder / 'killed', *options)
    runs.wait(process, folder / 'killed', runs.lines(folder / 'first') // 2)
    process.kill()
    process.join()
    left = len(list((folder / 'killed').glob('*.pth')))
    runs.finish(config, folder / 'killed', *options)
    first, second, killed = (_last(folder / name) for name in ('first', 'second', 'killed'))
    twice, resumed = _differences(first, second), _differences(first, killed)
    if not left or not resumed[1] <= 10 * twice[1] + 1e-6:
        raise RuntimeError(
            f'checkpoints left by the kill: {left}; differences (number, largest): {resumed}; two runs: {twice}'
        )
    return [
        dict(precision=precision, run=name, tensors_that_differ=number, largest_difference=largest)
        for name, (number, largest) in (('a second run', twice), ('killed and resumed', resumed))
    ]


def _last(work_dir: Path) -> dict[str, Any]:
    """Read the last checkpoint of a run."""
    checkpoint = read_checkpoint((work_dir / 'last_checkpoint').read_text())
    return {key: checkpoint[key] for key in ('state_dict', 'ema_state_dict', 'optimizer')}


def _differences(a: Any, b: Any) -> tuple[int, float]:
    """Return how many tensors differ, and the largest difference relative to the largest element of its tensor."""
    if isinstance(a, torch.Tensor):
        if torch.equal(a, b):
            return 0, 0.0
        a, b = a.double(), b.double()
        return 1, float((a - b).abs().max() / a.abs().max().clamp_min(1e-12))
    if isinstance(a, Mapping):
        a, b = [*a.values()], [*b.values()]
    if not isinstance(a, (list, tuple)):
        return int(a != b), float('inf') if a != b else 0.0
    found = [_differences(x, y) for x, y in zip(a, b, strict=True)]
    return sum(number for number, _ in found), max((largest for _, largest in found), default=0.0)
