"""Command-line options that the tools share with those of the MM toolboxes, and their effect on a config."""

from __future__ import annotations

import os
import traceback
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.runner import Runner

from tas_mm.config import read_config
from tas_mm.models.algorithms import TAS
from tas_mm.models.utils import unwrap
from tas_mm.recipes.methods import find_method, put_method

from .checkpoints import safe_loading
from .hook_checks import check_hooks


def at_least(least: int) -> Callable[[str], int]:
    """Return the argument type of an option that takes a whole number of at least ``least``.

    Args:
        least (int): The smallest accepted number.

    Examples:
        >>> at_least(1)('3')
        3
    """

    def number(text: str) -> int:
        try:
            if (value := int(text)) >= least:
                return value
        except ValueError:
            pass
        raise ArgumentTypeError(f'{text!r}. Expected a whole number of at least {least}')

    return number


def add_common_options(parser: ArgumentParser) -> None:
    """Add the options that ``tools/train.py`` and ``tools/test.py`` share.

    Args:
        parser (ArgumentParser): Parser of the tool.
    """
    parser.add_argument('config', help='config file, or the name of a shipped one: tas_mm::tas/swin_to_r18.py')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/<name of the config>)')
    parser.add_argument(
        '--amp',
        nargs='?',
        const='float16',
        choices=['float16', 'bfloat16'],
        help='automatic mixed precision (default type: float16)',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='settings of the config to override, as key=value'
    )
    parser.add_argument(
        '--check-only',
        nargs='?',
        const=1,
        type=at_least(1),
        metavar='PROCESSES',
        help='check that data, weights, work folder and GPUs for so many processes are here, and stop (default: 1)',
    )
    # torchrun sets the environment variable; older launchers pass the option, in either spelling.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def _has_gpu() -> bool:
    return get_device() != 'cpu'


def load_config(args: Namespace, method: str | None = None) -> Config:
    """Read the config that the options name, and apply the options of :func:`add_common_options`.

    Args:
        args (Namespace): Parsed options.
        method (str, optional): Method that takes the place of the config's, see :func:`find_method`; the work folder's
            name ends with its name. Defaults to None.

    Raises:
        FileNotFoundError: If the config or the file of the method does not exist.
        ValueError: If the config is not Python, or does not take a method.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    if method is not None:
        try:
            put_method(cfg, find_method(method))
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f'--method {method}: {error}') from error
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or _work_dir(cfg, args.config, method)
    if args.amp and not _has_gpu():
        raise SystemExit('--amp: MMEngine trains in mixed precision on a GPU only, but there is none here')
    if args.launcher == 'pytorch' and not _has_gpu():
        if 'RANK' not in os.environ:
            raise SystemExit('--launcher pytorch: start it with tools/dist_train.sh CONFIG PROCESSES, or with torchrun')
        # MMEngine would select a GPU for the group and for DDP, unless these are set already.
        torch.distributed.init_process_group('gloo')
        wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False)
        wrapper['find_unused_parameters'] = cfg.get('find_unused_parameters', False)
        cfg.model_wrapper_cfg = dict(wrapper, **(cfg.get('model_wrapper_cfg') or {}), device_ids=None)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is not None:
            # As in MMPretrain's own tool: workers collate batches and stay alive between epochs. Detectors' images have
            # many sizes, and their preprocessor collates them.
            if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
                loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', _has_gpu())  # without a GPU torch would warn at every epoch
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
    return cfg


def _work_dir(cfg: Config, name: str, method: str | None) -> str:
    """Return the work folder of a config; each method has its own."""
    folder = cfg.get('work_dir') or os.path.join('work_dirs', Path(name.split('::')[-1]).stem)
    ending = f'_{Path(method).stem}' if method else ''
    return folder.removesuffix(ending) + ending


def use_mixed_precision(cfg: Config, dtype: str) -> None:
    """Make a config train under autocast to ``'float16'``, with a loss scale, or to ``'bfloat16'``.

    bfloat16 has the range of float32, so it needs no scaling.

    Args:
        cfg (Config): Config of the run, changed in place.
        dtype (str): ``'float16'`` or ``'bfloat16'``.
    """
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.dtype = dtype
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic' if dtype == 'float16' else 1.0)


def train(runner: Runner) -> None:
    """Train, loading checkpoints under :func:`safe_loading`.

    Args:
        runner (Runner): Runner of the training run.

    Raises:
        RuntimeError: If a process that loads images was killed. The error says what to do.
        ValueError: If a hook cannot work in a distillation.
    """
    if isinstance(unwrap(runner.model), TAS):
        check_hooks(runner.hooks)
    try:
        try:
            with safe_loading():
                runner.train()
        except (ConnectionError, EOFError) as error:
            # A dead worker's batch is lost. Torch's own error comes from a signal handler, even in here.
            if not any(frame.filename.endswith('dataloader.py') for frame in traceback.extract_tb(error.__traceback__)):
                raise
            raise RuntimeError(f'DataLoader worker: {type(error).__name__}: {error}') from error
    except RuntimeError as error:
        if 'DataLoader worker' not in str(error):
            raise
        raise RuntimeError(
            f'A process that loads images was killed ({error}), most often for lack of memory. '
            'Lower train_dataloader.num_workers or batch_size, or give the container more shared memory. Saved files '
            'are unchanged. Resume with --resume'
        ) from error


def leave_group() -> None:
    """Take this process out of the group of processes, at the end of a run that went well.

    Without it the group's threads may outlive Python, and a finished run would end with "terminate called without an
    active exception" and a failure for its launcher. After an error the launcher stops the other processes; leaving
    would wait for them.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
