"""Small distillation runs in processes of their own, which may be killed.

A fresh interpreter would spend ten seconds on imports. These processes are forked from a server that has them done, and
then run ``tools/train.py`` as a user would.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import runpy
import signal
import sys
import time
import warnings
from contextlib import suppress
from itertools import count
from pathlib import Path

import torch
from yapf.yapflib import yapf_api

ROOT = Path(__file__).parents[2]
PROCESSES = multiprocessing.get_context('forkserver')
PROCESSES.set_forkserver_preload(['tas_mm', 'mmpretrain.models', 'sklearn.datasets', __name__])

CONFIG = """
_base_ = '{root}/configs/quickstart/tas.py'
student = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32),
        img_size=32, patch_size=8, drop_rate=0.1, drop_path_rate=0.2,
    ),
    head=dict(type='VisionTransformerClsHead', num_classes=10, in_channels=16),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)]),
)
teacher = _base_.model.architecture
teacher.backbone.update(stem_channels=4, base_channels=4)
teacher.head.in_channels = 32
model = dict(_delete_=True, type='tas_mm.TAS', architecture=student, teacher=teacher, teacher_ckpt='{teacher}')
train_pipeline = [
    dict(type='Resize', scale=32),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandAugment', policies='timm_increasing', num_policies=2, total_level=10, magnitude_level=9),
    dict(type='PackInputs'),
]
digits = dict(type='tas_mm.Digits', split='train', num_labeled=48, pipeline=train_pipeline)
train_dataloader = dict(batch_size=16, dataset=dict(_delete_=True, **digits))
val_dataloader = dict(batch_size=50, dataset=dict(indices=50))
train_cfg = dict(max_epochs=4)
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=2))
log_level = 'WARNING'
{more}
"""
BY_ITERATION = """
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=12, val_interval=4)
train_dataloader['sampler'] = dict(type='InfiniteSampler')
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, begin=2)]
default_hooks['checkpoint'].update(by_epoch=False, interval=2)
log_processor = dict(by_epoch=False)
"""


def config(folder: Path, more: str = '') -> Path:
    """Write the config of a run, and the weights of its teacher beside it."""
    from tas_mm.config import read_config
    from tas_mm.models.teachers import build_teacher

    path, teacher = folder / 'run.py', folder / 'teacher.pth'
    path.write_text(CONFIG.format(root=ROOT, teacher=teacher, more=more))
    torch.manual_seed(0)
    torch.save(build_teacher(dict(read_config(str(path)).teacher, _scope_='mmpretrain')).state_dict(), teacher)
    return path


def warm_up() -> None:
    """Let the server do its imports, so that they take no time from the first run."""
    process = PROCESSES.Process(target=len, args=('',))
    process.start()
    process.join()


def start(config: Path, work_dir: Path, *options: str, die_at: int = 0) -> multiprocessing.Process:
    """Start a run, or resume it where there is something to resume.

    Args:
        config (Path): Its config.
        work_dir (Path): Its folder, which also gets what it prints.
        *options (str): More of the options of ``tools/train.py``.
        die_at (int): Kill itself at the n-th change of a file on the disk. Defaults to 0: never.
    """
    work_dir.mkdir(exist_ok=True)
    arguments = [str(config), '--work-dir', str(work_dir), '--resume', *options]
    process = PROCESSES.Process(target=_train, args=(arguments, work_dir, die_at))
    process.start()
    return process


def finish(config: Path, work_dir: Path, *options: str) -> None:
    """Run to the end."""
    process = start(config, work_dir, *options)
    process.join()
    assert process.exitcode == 0, (work_dir / 'printed').read_text()[-3000:]


def lines(work_dir: Path) -> int:
    """How many lines a run has logged."""
    return sum(log.read_text().count('\n') for log in work_dir.glob('*/vis_data/scalars.json'))


def wait(process: multiprocessing.Process, work_dir: Path, number: int) -> None:
    """Wait until a run has logged so many lines, or has ended."""
    while process.is_alive() and lines(work_dir) < number:
        time.sleep(0.01)


def _train(arguments: list[str], work_dir: Path, die_at: int) -> None:
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    gc.freeze()  # MMEngine collects garbage, and there is much that was imported
    yapf_api.FormatCode = lambda text, **_: (text, False)  # tidying the config takes most of the time of a save
    printed = os.open(work_dir / 'printed', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    changes = _count_changes(die_at)
    sys.argv = ['tools/train.py', *arguments]
    runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
    (work_dir / 'changes').write_text(str(next(changes)))


def _count_changes(die_at: int) -> count:
    """Count what reaches the disk by ``os``; at ``die_at`` leave half a file behind, where one is written, and die."""
    changes = count(1)

    def counting(name: str):
        original = getattr(os, name)

        def change(*args):
            if next(changes) == die_at:
                with suppress(OSError):  # a folder cannot be cut short
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2) if name == 'fsync' else None
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args)

        return change

    for name in ('fsync', 'replace', 'remove'):
        setattr(os, name, counting(name))
    return changes


def scalars(work_dir: Path) -> list[dict]:
    """Return a run's log without what depends on the clock; steps repeated after resuming count once."""
    lines = [json.loads(line) for log in sorted(work_dir.glob('*/vis_data/scalars.json')) for line in log.open()]
    clock = ('time', 'data_time', 'eta', 'memory')
    lines = [{key: value for key, value in line.items() if key not in clock} for line in lines]
    return sorted({json.dumps(line, sort_keys=True): line for line in lines}.items())
