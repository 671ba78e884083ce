"""The user's data: ``--data`` as configs of MMPretrain's data sets.

It may be a folder of images (``train/CLASS/x.jpg`` and ``val/CLASS/y.jpg``), a table of paths and labels, a data set
that MMPretrain knows by name, or a folder of images without labels. Everything is checked here, so that a mistake is
found before anything is built.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import mimetypes
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.fileio import list_dir_or_file
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from .table import CSV_HELP, table_parts

FOLDER_HELP = 'Expected a folder with train/CLASS/*.jpg and val/CLASS/*.jpg'
FEWEST, MOST_HELD_OUT = 16, 1000
"""Number of images that a folder without labels needs, and the most that are held out."""
MMPRETRAIN_EXTENSIONS: tuple[str, ...] = inspect.signature(CustomDataset).parameters['extensions'].default
EXTENSIONS = (*MMPRETRAIN_EXTENSIONS, '.webp', '.tiff', '.jfif', '.jpe')
"""Extensions of images in a folder: those that MMPretrain finds, and others that OpenCV reads."""
LOAD = [dict(type='LoadImageFromFile')]
TO_COLOR = [
    dict(type='NumpyToPIL'),
    dict(type='torchvision/Grayscale', num_output_channels=3),
    dict(type='PILToNumpy'),
]
"""Turns gray images of one channel into three equal channels, as the networks expect."""


@dataclass
class OwnData:
    """Data set to distill on.

    Attributes:
        train (dict): Config of the training part, without a pipeline.
        val (dict): Config of the validation part, without a pipeline.
        classes (tuple): Names of the classes, in the order of their numbers. Empty for images without labels.
        sizes (tuple): Numbers of training and of validation images.
        load (list): First transforms of each pipeline.
        to_rgb (bool): Whether the images are loaded as BGR.
    """

    train: dict
    val: dict
    classes: tuple[str, ...]
    sizes: tuple[int, int]
    load: list[dict]
    to_rgb: bool

    def preprocessor(self, normalization: dict) -> dict:
        """Return a data preprocessor with the given normalization."""
        classes = dict(num_classes=len(self.classes)) if self.classes else {}
        return dict(**classes, **normalization, to_rgb=self.to_rgb)


def find_data(data: str, data_root: str | None = None, val_csv: str | None = None, lists: str | Path = '.') -> OwnData:
    """Find a data set and check that it can be learned from.

    Args:
        data (str): A folder, a file ``*.csv``, or the name of a data set (``CIFAR100``, ``tas_mm.Digits``).
        data_root (str, optional): Folder of a table's images or of a named data set's files. Defaults to None: the
            table's folder. A named data set needs it, unless it does not read files.
        val_csv (str, optional): A second table, for validation. Defaults to None: the first has a column ``split``.
        lists (str | Path): Folder for the lists ``train.txt`` and ``val.txt`` of a table's images. Defaults to '.'.

    Raises:
        ValueError: If there is no such data, or if it cannot be learned from. The error names the option.
    """
    table = data.endswith('.csv') and not Path(data).is_dir()
    for option, value, fits in (('--val-csv', val_csv, table), ('--data-root', data_root, not Path(data).is_dir())):
        if value is not None and not fits:
            raise ValueError(
                f'{option} {value} does not apply to --data {data}. --val-csv is for a table, --data-root for a table '
                'or a data set by name'
            )
    if Path(data).is_dir():
        parts = _folder(Path(data))
    elif table:
        parts = table_parts(Path(data), data_root, val_csv, Path(lists))
    else:
        parts = _named(data, data_root)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        train, val = (_built(part, data) for part in parts)
    first = train.get_data_info(0)
    if np.ndim(first['gt_label']):
        raise ValueError(f'--data {data}: an image has several labels. Expected one label each')
    labels = {int(train.get_data_info(i)['gt_label']) for i in range(len(train))} if train.CLASSES is None else ()
    classes = tuple(train.CLASSES or map(str, range(max(labels) + 1)))
    if len(classes) < 2:
        raise ValueError(f'--data {data}: {len(classes)} class. Expected at least 2')
    gray = 'img' in first and (first['img'].ndim == 2 or first['img'].shape[-1] == 1)
    load: list = LOAD if 'img' not in first else TO_COLOR if gray else []
    return OwnData(*parts, classes, (len(train), len(val)), load, to_rgb='img' not in first)


def has_classes(data: str) -> bool:
    """Return True if ``--data`` is labeled: anything except a folder without ``train/`` and ``val/``.

    Args:
        data (str): A folder, a table, or the name of a data set.
    """
    folder = Path(data)
    return not folder.is_dir() or (folder / 'train').is_dir() or (folder / 'val').is_dir()


def find_images(data: str, lists: str | Path = '.') -> OwnData:
    """Find the images in a folder, at any depth, without labels.

    A twentieth of them is held out for validation, at least 4 and at most 1,000. Hashes of the paths choose them, so
    the same folder is always split the same way.

    Args:
        data (str): The folder.
        lists (str | Path): Folder for the lists ``train.txt`` and ``val.txt`` of the images. Defaults to '.'.

    Raises:
        ValueError: If the folder does not exist, or has fewer than 16 images.
    """
    if not Path(data).is_dir():
        raise ValueError(f'--data {data}: there is no such folder. Expected one with images, at any depth')
    root, lists = Path(data).absolute(), Path(lists)
    files = sorted(list_dir_or_file(str(root), list_dir=False, recursive=True))
    images = [file for file in files if file.lower().endswith(EXTENSIONS)]
    if len(images) < FEWEST:
        raise ValueError(
            f'--data {data}: {len(images)} of its {len(files)} files are images that end with {", ".join(EXTENSIONS)}. '
            f'Expected at least {FEWEST} images'
        )
    left_out = [file for file in set(files).difference(images) if _is_image(file)]
    if left_out:
        text = (
            f'--data {data}: {len(left_out)} images are left out, such as {left_out[0]}. Expected images that end with '
        )
        print_log(text + ', '.join(EXTENSIONS), logger='current', level=logging.WARNING)
    by_hash = sorted(images, key=lambda file: hashlib.blake2b(file.encode(errors='surrogateescape')).digest())
    held_out = set(by_hash[: min(MOST_HELD_OUT, max(len(images) // 20, min(16, len(images) // 4)))])
    parts = dict(train=[file for file in images if file not in held_out], val=sorted(held_out))
    lists.mkdir(parents=True, exist_ok=True)
    for part, chosen in parts.items():
        strange = next((file for file in chosen if re.search('[\n\r\ud800-\udfff]', file)), None)
        if strange is not None:
            raise ValueError(f'--data {data}: a list cannot hold the name {strange!r}. Rename the file')
        (lists / f'{part}.txt').write_text('\n'.join(chosen), encoding='utf-8')
    train, val = (
        dict(
            type='CustomDataset',
            ann_file=str((lists / f'{part}.txt').absolute()),
            data_prefix=str(root),
            with_label=False,
        )
        for part in parts
    )
    return OwnData(train, val, (), (len(parts['train']), len(parts['val'])), LOAD, to_rgb=True)


def _is_image(file: str) -> bool:
    return (mimetypes.guess_type(file)[0] or '').startswith('image/')


def _built(config: dict, data: str) -> Any:
    try:
        return DATASETS.build(config)
    except Exception as error:
        raise ValueError(f'--data {data}: {type(error).__name__}: {error}') from error


def _folder(folder: Path) -> tuple[dict, dict]:
    names = {}
    for part in ('train', 'val'):
        if not (folder / part).is_dir():
            raise ValueError(f'--data {folder}: it does not have a folder {part}/. {FOLDER_HELP}')
        names[part] = {path.name for path in (folder / part).iterdir() if path.is_dir()}
    if names['train'] != names['val']:
        only = {part: sorted(names[part] - names[other])[:3] for part, other in (('train', 'val'), ('val', 'train'))}
        raise ValueError(
            f'--data {folder}: train/ and val/ must hold the same classes, but only train/ has {only["train"]} and '
            f'only val/ has {only["val"]}. {FOLDER_HELP}'
        )
    for part, classes in names.items():
        for name in sorted(classes):
            _check_class(folder, part, name)
    train, val = (
        dict(type='CustomDataset', data_root=str(folder), data_prefix=part, extensions=list(EXTENSIONS))
        for part in names
    )
    return train, val


def _check_class(folder: Path, part: str, name: str) -> None:
    """Raise if images of a class would not be found. A folder in val/ may be empty."""
    files = list(list_dir_or_file(str(folder / part / name), list_dir=False, recursive=True))
    others = [file for file in files if not file.lower().endswith(EXTENSIONS)]
    images = [file for file in others if _is_image(file)]
    expected = f'Expected images that end with {", ".join(EXTENSIONS)}'
    if images:
        raise ValueError(
            f'--data {folder}: of {part}/{name} {len(images)} of {len(files)} files, which are images, would be left '
            f'out, such as {images[0]}. {expected}. Convert the others, or move them away'
        )
    if len(others) == len(files) and (others or part == 'train'):
        raise ValueError(
            f'--data {folder}: {part}/{name} holds no image{others and f", but files such as {others[0]}" or ""}. '
            f'{expected}, and in train/ at least one of each class'
        )


def _named(name: str, data_root: str | None) -> tuple[dict, dict]:
    """Return the configs of a named data set, with the first splits that it supports."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        if DATASETS.get(name) is None:
            near = get_close_matches(name, DATASETS.module_dict, n=3, cutoff=0.5)
            raise ValueError(
                f'--data {name}: neither a folder, nor a file *.csv, nor a data set that MMPretrain knows. '
                + (f'Closest names: {", ".join(near)}' if near else f'{FOLDER_HELP}. For a table: {CSV_HELP}')
            )
        root = dict(data_root=data_root) if data_root else {}
        configs = []
        for splits in (dict(train={}, trainval={}), dict(val=dict(test_mode=True), test=dict(test_mode=True))):
            errors = []
            for split, options in splits.items():
                config = dict(type=name, **root, split=split, **options)
                try:
                    DATASETS.build(config)
                except Exception as error:
                    errors.append(f'split={split!r} gives {type(error).__name__}: {error}')
                else:
                    configs.append(config)
                    break
            else:
                raise ValueError(
                    f'--data {name} with --data-root {data_root}: {"; ".join(errors)}. Expected a --data-root '
                    'with the files of that data set'
                )
    train, val = configs
    return train, val
