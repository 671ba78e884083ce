"""Check what a run needs before anything is built or fetched: data, weights, GPUs and a work folder.

Each missing thing is one line: key of the config, what is wrong, where it was looked for, and what to do.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.fileio import exists, get_file_backend, list_dir_or_file
from mmengine.fileio.backends import LocalBackend
from mmengine.registry import DATASETS

from tas_mm.config import innermost_datasets, named_model, without_weights
from tas_mm.models.sources import weights_read, why_missing, why_unreachable
from tas_mm.models.teachers import published_weights, teacher_config

LOADERS = ('train_dataloader', 'val_dataloader')

RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
LOCAL_SIZES = ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE', 'OMPI_COMM_WORLD_LOCAL_SIZE')
LOCAL_RANKS = ('LOCAL_RANK', 'SLURM_LOCALID', 'OMPI_COMM_WORLD_LOCAL_RANK')
"""Environment variables in which launchers store a process's rank, the processes on its node, and its local rank."""


def require(config: Config, loaders: tuple[str, ...] = LOADERS, processes: int | None = None) -> None:
    """Exit with status 1 if a run cannot start here.

    Process 0 prints what is missing. The first process of every other node prints one line. All others are silent.

    Args:
        config (Config): Config of the run, with a ``work_dir``.
        loaders (tuple): The loaders whose data the run reads. Defaults to those of a training run.
        processes (int, optional): Number of processes on this node. Defaults to None: set by the launcher.
    """
    lines = list(missing(config, loaders, _number(LOCAL_SIZES, 1) if processes is None else processes))
    if not lines:
        return
    found = 'one thing is' if len(lines) == 1 else f'{len(lines)} things are'
    if _number(RANKS, 0) == 0:
        print(f'{config.filename or "the config"} cannot run here, {found} missing:', *lines, sep='\n', file=sys.stderr)
    elif _number(LOCAL_RANKS, 0) == 0:  # another node, which may have its own disks
        print(f'node {platform.node()} cannot run here, {found} missing, the first: {lines[0]}', file=sys.stderr)
    sys.exit(1)


def missing(config: Config, loaders: tuple[str, ...] = LOADERS, processes: int = 1) -> Iterator[str]:
    """Yield a line for each thing that a run needs and that is missing.

    Args:
        config (Config): Config of the run, with a ``work_dir``.
        loaders (tuple): The loaders whose data the run reads. Defaults to those of a training run.
        processes (int): Number of processes on this node. Defaults to 1.

    Examples:
        >>> from mmengine.config import Config
        >>> from tas_mm.engine.prerequisites import missing
        >>> config = Config(dict(load_from='lost.pth', work_dir='.'))
        >>> next(missing(config)).startswith("load_from: 'lost.pth' does not exist")
        True
    """
    yield from _missing_gpus(config, processes)
    yield from _missing_folder(config.work_dir)
    yield from _missing_weights(config)
    for key in loaders:
        yield from _missing_data(config, key)
    if 'val_dataloader' in loaders:
        yield from _missing_probe(config)


def _missing_gpus(config: Config, processes: int) -> Iterator[str]:
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes and config.get('env_cfg', {}).get('dist_cfg', {}).get('backend') != 'gloo':
        yield (
            f'processes: {processes} were requested, but this machine has {gpus} GPU{"s" * (gpus > 1)}. Start at most '
            f'{gpus} here; CUDA_VISIBLE_DEVICES={os.environ.get("CUDA_VISIBLE_DEVICES", "(not set)")}'
        )


def _missing_folder(work_dir: str) -> Iterator[str]:
    folder = os.path.abspath(work_dir)
    above = folder
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if not (os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)):
        yield f'work_dir: {folder!r} cannot be written, because of {above!r}. Name another one with --work-dir'


# ---- weights --------------------------------------------------------------------------------------------------------


def _missing_weights(config: Config) -> Iterator[str]:
    places = dict.fromkeys(_weights(config))
    for key, place in places:
        if problem := why_missing(place):
            fetched = key.startswith('model.teacher') and not key.startswith('model.teacher_ckpt')
            yield f'{key}: {problem}{", or set model.teacher_ckpt to a file" if fetched else ""}'


def _weights(config: Config) -> Iterator[tuple[str, str]]:
    """Yield key and place of all weights that a run loads."""
    if isinstance(config.get('load_from'), str):
        yield 'load_from', config.load_from
    model = config.get('model')
    if not isinstance(model, Mapping):
        return
    model = dict(model)
    teachers, checkpoints = model.pop('teacher', None), model.pop('teacher_ckpt', None)
    yield from weights_read(model, 'model')
    several = isinstance(teachers, (list, tuple))
    for i, teacher in enumerate(teachers if several else [teachers]):
        given = checkpoints[i : i + 1] if isinstance(checkpoints, (list, tuple)) else [checkpoints]
        yield from _weights_of_teacher(teacher, given[0] if given else None, f'[{i}]' if several else '')


def _weights_of_teacher(teacher: Any, checkpoint: str | None, index: str) -> Iterator[tuple[str, str]]:
    """Yield key and place of a teacher's weights. A checkpoint replaces all others."""
    if checkpoint:
        yield f'model.teacher_ckpt{index}', checkpoint
    if not isinstance(teacher, (str, dict)):
        return
    try:
        network = teacher_config(teacher)
        published = None if checkpoint else published_weights(teacher)
        network = without_weights(named_model(network)) if checkpoint or published else network
    except (OSError, ValueError):  # building the teacher reports the problem
        return
    if published:
        yield f'model.teacher{index}', published
    yield from weights_read(network, f'model.teacher{index}')


# ---- data -----------------------------------------------------------------------------------------------------------


def _missing_data(config: Config, key: str) -> Iterator[str]:
    loader = config.get(key)
    if not isinstance(loader, Mapping) or not isinstance(loader.get('dataset'), Mapping):
        return
    for dataset in innermost_datasets(loader['dataset']):
        built = _without_data(dataset, config.get('default_scope') or 'mmengine')
        if built is not None:
            yield from _missing_files(built, f'{key}.dataset', _num_classes(config))


def _missing_probe(config: Config) -> Iterator[str]:
    """Yield a line for each thing that a probe of the validation lacks. Its classes may differ from the model's."""
    probe = (config.get('val_cfg') or {}).get('probe') or {}
    for part in ('train', 'val'):
        for dataset in innermost_datasets(probe[part]) if isinstance(probe.get(part), Mapping) else ():
            built = _without_data(dataset, config.get('default_scope') or 'mmengine')
            if built is not None:
                yield from _missing_files(built, f'val_cfg.probe.{part}', None)


def _without_data(config: Mapping[str, Any], scope: str) -> BaseDataset | None:
    """Build a data set with its paths but without reading files. None if its class does not allow that."""
    try:
        with DATASETS.switch_scope_and_registry(config.get('_scope_', scope)) as registry:
            cls = config['type'] if isinstance(config['type'], type) else registry.get(config['type'])
            if not (isinstance(cls, type) and issubclass(cls, BaseDataset)):
                return None
            return registry.build(dict(config, pipeline=[], lazy_init=True))
    except Exception:  # of any kind: building the run reports what is wrong with the config
        return None


def _missing_files(dataset: BaseDataset, key: str, num_classes: int | None) -> Iterator[str]:
    """Yield a line for each missing file and folder of a data set, or for folders that do not match the classes."""
    fetched = _missing_fetched(dataset, key)
    if fetched is not None:
        yield from fetched
        return
    folders = [path for path in (dataset.data_prefix or {}).values() if isinstance(path, str)]
    named = [('data_root and ann_file', dataset.ann_file), *(('data_root and data_prefix', path) for path in folders)]
    lost = [(name, path) for name, path in named if path and isinstance(path, str) and not exists(path)]
    for name, path in lost:
        yield (
            f'{key}: {path!r} does not exist (looked for {_absolute(path)}). Put the data there, or set {name} of '
            f'{type(dataset).__name__}'
        )
    if not lost:
        yield from _unfit_folders(dataset, key, num_classes)


def _missing_fetched(dataset: BaseDataset, key: str) -> list[str] | None:
    """Return the lines for a data set that downloads itself, such as CIFAR. None for others."""
    intact = getattr(dataset, '_check_integrity', None) or getattr(dataset, '_check_exists', None)
    if intact is None or not hasattr(dataset, 'download'):
        return None
    if intact():
        return []
    root, url = dataset.data_prefix['root'], getattr(dataset, 'url', None) or getattr(dataset, 'url_prefix', '')
    reason = why_unreachable(url) if dataset.download else 'download=False'
    if reason is None:
        return []
    return [
        f'{key}: {type(dataset).__name__} is not complete in {root!r} (looked for {_absolute(root)}) and cannot be '
        f'fetched ({reason}). Put the files of {url} there, or set data_root'
    ]


def _unfit_folders(dataset: BaseDataset, key: str, num_classes: int | None) -> Iterator[str]:
    """Yield a line if the number of image folders, one per class, differs from the number of classes."""
    folder = (dataset.data_prefix or {}).get('img_path')
    if dataset.ann_file or not hasattr(dataset, 'with_label') or not isinstance(folder, str):
        return
    if not dataset.with_label:
        files = list_dir_or_file(folder, list_dir=False, recursive=True)
        if not any(map(dataset.is_valid_file, files)):
            endings = ', '.join(sorted(dataset.extensions))
            yield f'{key}: {folder!r} has no image, at any depth. Expected files that end with {endings}'
        return
    if not isinstance(get_file_backend(folder), LocalBackend):
        return
    found = sum(entry.is_dir() for entry in os.scandir(folder))
    named = dataset.metainfo.get('classes')
    if named is not None and len(named) != found:
        yield f'{key}: {folder!r} has {found} folders. Expected {len(named)}, one for each class of the data set'
    elif num_classes is not None and found > num_classes:
        yield (
            f'{key}: {folder!r} has {found} folders, one per class, but the student has {num_classes} classes. Set '
            f'num_classes={found} in its head'
        )


def _num_classes(config: Config) -> int | None:
    """Return the number of classes of the student, or of the only network. None if the config does not set it."""
    model = config.get('model')
    if not isinstance(model, Mapping):
        return None
    try:
        network = named_model(model.get('architecture') or model)
    except (OSError, ValueError):
        return None
    head = network.get('head')
    found = network.get('num_classes') or (head.get('num_classes') if isinstance(head, Mapping) else None)
    return found if isinstance(found, int) else None


def _absolute(path: str) -> str:
    return os.path.abspath(path) if isinstance(get_file_backend(path), LocalBackend) else path


def _number(names: tuple[str, ...], default: int) -> int:
    """Return the first number in some environment variables."""
    values = (os.environ.get(name, '') for name in names)
    return next((int(value) for value in values if value.isdigit()), default)
