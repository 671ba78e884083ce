"""What ``tools/train.py`` and ``tools/test.py`` share: the options that MM users know, applied to a config."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device

from tas_mm.config import read_config


def add_common_options(parser: ArgumentParser) -> None:
    """Options of both tools."""
    parser.add_argument('config', help='config file, or the name of a shipped one: tas_mm::tas/swin_to_r18.py')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/<name of the config>)')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='settings of the config to override, as key=value'
    )
    # torchrun sets the environment variable; older launchers pass it, spelled either way.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def _has_gpu() -> bool:
    return get_device() != 'cpu'


def load_config(args: Namespace) -> Config:
    """Read the config that the options name and apply the common ones."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config.split('::')[-1]).stem)
    if args.amp and not _has_gpu():
        raise SystemExit('--amp: MMEngine trains in mixed precision on a GPU only, and there is none here')
    if args.launcher == 'pytorch' and not _has_gpu():
        # MMEngine would select a GPU for the group and for DDP; what it finds in place it leaves alone.
        torch.distributed.init_process_group('gloo')
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is not None:
            # As MMPretrain's own tool: batches are collated by the workers, which stay alive between epochs. Images
            # of detectors are of many sizes, and their preprocessor makes batches of them.
            if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
                loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', True)
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
    return cfg
