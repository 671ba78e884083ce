"""Shared by all parts: device, sizes, folders, pairs, precision."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from tas_mm.analysis.benchmark.named import named_config
from tas_mm.analysis.benchmark.suite import OWN_HOOKS
from tas_mm.analysis.trial import untrained_model
from tas_mm.config import pipeline_size
from tas_mm.engine.launch import use_mixed_precision

PAIRS = dict(
    swin_to_r18='tas_mm::tas/swin_to_r18.py',
    vit_s_to_r18='tas_mm::tas/vit_s_to_r18_cifar100.py',
    convnext_to_swin_p='tas_mm::tas/convnext_to_swin_p_cifar100.py',
)
"""The three pairs of docs/performance.md, at 224 px."""

TINY_PAIRS = dict(tiny='tas_mm::quickstart/tas.py')
"""A small transformer and a small CNN at 32 px, to rehearse with."""

PLAIN_KD = 'mmrazor:kd'
METHODS = (PLAIN_KD, 'kd', 'tas', 'tas_lean', 'tas+model.teacher_dtype=bfloat16')
"""Methods whose steps are compared; ratios are to the first two."""


@dataclass(frozen=True)
class Setup:
    """Place and size of the parts.

    Attributes:
        device (str): ``'cuda'`` or ``'cpu'``.
        tiny (bool): Whether to rehearse: tiny networks, two steps.
        work (Path): Folder for configs, checkpoints and logs.
        data (Path): Folder with ``photos`` and ``fashion_mnist``.
        seconds (float): Time that the part has.
    """

    device: str = 'cuda'
    tiny: bool = False
    work: Path = Path('work_dirs/gpu_proof/work')
    data: Path = Path('data')
    seconds: float = 600.0

    @property
    def pairs(self) -> dict[str, str]:
        """Configs of the pairs by name."""
        return TINY_PAIRS if self.tiny else PAIRS

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Images in a step."""
        return (4,) if self.tiny else (64, 256)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Types; scaling float16 needs a GPU."""
        return ('bfloat16', 'float32', 'float16') if self.device == 'cuda' else ('bfloat16', 'float32')

    @property
    def compile(self) -> bool | dict[str, Any]:
        """Options of ``torch.compile``; without a GPU nothing but its graphs is rehearsed."""
        return True if self.device == 'cuda' else dict(backend='eager')

    @property
    def rounds(self) -> int:
        """Steps that are timed."""
        return 2 if self.tiny else 12

    @property
    def workers(self) -> int:
        """Processes that load images."""
        return 0 if self.tiny else min(16, os.cpu_count() or 1)

    @property
    def repeats(self) -> int:
        """How often an epoch shows each of the photos."""
        return 1 if self.tiny else 32

    def config(self, pair: str, method: str) -> Config:
        """Return the config of a method on a pair."""
        return named_config(method, self.pairs[pair])

    def synchronize(self) -> None:
        """Wait until the device has finished its work."""
        if self.device == 'cuda':
            torch.cuda.synchronize()


def set_precision(tf32: bool) -> None:
    """Let float32 products of a GPU run in TF32, or not."""
    torch.set_float32_matmul_precision('high' if tf32 else 'highest')
    torch.backends.cudnn.allow_tf32 = tf32


def photo_pipeline(size: int) -> list[dict]:
    """Return ImageNet's training pipeline for images of a size."""
    return [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=size),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='PackInputs'),
    ]


def training(setup: Setup, pair: str, method: str, precision: str, batch_size: int, repeats: int = 1) -> Config:
    """Return the config of an epoch of a method on the photos, with random weights and no validation.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair.
        method (str): Name of the method.
        precision (str): ``'float32'``, ``'bfloat16'`` or ``'float16'``.
        batch_size (int): Images in a step.
        repeats (int): How often each photo is seen. Defaults to 1.
    """
    cfg = setup.config(pair, method)
    size = (pipeline_size(cfg) or (32,))[0]
    cfg.model = ConfigDict(untrained_model(cfg))
    photos = dict(type='CustomDataset', data_root=str(setup.data / 'photos'), pipeline=photo_pipeline(size))
    loader = dict(batch_size=batch_size, num_workers=setup.workers, persistent_workers=setup.workers > 0)
    loader.update(collate_fn=dict(type='default_collate'), pin_memory=setup.device == 'cuda')
    loader.update(sampler=dict(type='DefaultSampler', shuffle=True), drop_last=True)
    cfg.train_dataloader = dict(loader, dataset=dict(type='RepeatDataset', times=repeats, dataset=photos))
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
    cfg.pop('param_scheduler', None)
    for part in ('val', 'test'):
        for key in ('cfg', 'dataloader', 'evaluator'):
            cfg.pop(f'{part}_{key}', None)
    for hook in OWN_HOOKS:
        cfg.default_hooks.pop(hook, None)
    cfg.default_hooks.checkpoint.save_best = None
    cfg.default_hooks.logger.interval = 1
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'WARNING'
    if precision != 'float32' and setup.device == 'cuda':
        use_mixed_precision(cfg, precision)
    return cfg
