"""Data sets of one's own: what ``--data`` names, as configs of MMPretrain's data sets.

A folder of images (``train/CLASS/x.jpg`` and ``val/CLASS/y.jpg``), a table of paths and labels, or a data set that
MMPretrain knows by name. All of it is looked at here, so that a mistake is found before anything is built.
"""

from __future__ import annotations

import csv
import inspect
import io
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.fileio import list_dir_or_file
from mmengine.registry import DefaultScope
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

FOLDER_HELP = 'valid is a folder with train/CLASS/*.jpg and val/CLASS/*.jpg'
CSV_HELP = "valid is a header 'path,label,split', with split 'train' or 'val', or 'path,label' with --val-csv"
MMPRETRAINS: tuple[str, ...] = inspect.signature(CustomDataset).parameters['extensions'].default
EXTENSIONS = (*MMPRETRAINS, '.webp', '.tiff', '.jfif', '.jpe')
"""Of the images in a folder: those that MMPretrain looks for by itself, and others that OpenCV reads."""
LOAD = [dict(type='LoadImageFromFile')]
TO_COLOUR = [
    dict(type='NumpyToPIL'),
    dict(type='torchvision/Grayscale', num_output_channels=3),
    dict(type='PILToNumpy'),
]
"""Grey images of one channel as three equal ones, which is what the networks take."""


@dataclass
class OwnData:
    """A data set to distil on.

    Attributes:
        train (dict): Config of the training part, without a pipeline.
        val (dict): That of the validation part.
        classes (tuple): Names of the classes, in the order of their numbers.
        sizes (tuple): Numbers of training and of validation images.
        load (list): Transforms that each pipeline begins with.
        to_rgb (bool): Whether the images come as BGR.
    """

    train: dict
    val: dict
    classes: tuple[str, ...]
    sizes: tuple[int, int]
    load: list[dict]
    to_rgb: bool


def find_data(data: str, data_root: str | None = None, val_csv: str | None = None, lists: str | Path = '.') -> OwnData:
    """Find a data set.

    Args:
        data (str): A folder, a file ``*.csv``, or the name of a data set (``CIFAR100``, ``tas_mm.Digits``).
        data_root (str, optional): Where the images of a table or the files of a named data set lie. Defaults to None:
            the table's folder; that of a named data set must be given unless it needs none.
        val_csv (str, optional): A second table, for validation. Defaults to None: the first has a column ``split``.
        lists (str | Path): Folder for ``train.txt`` and ``val.txt``, into which a table is turned. Defaults to '.'.

    Raises:
        ValueError: If there is no such data, or it cannot be learned from; names the option.
    """
    table = data.endswith('.csv') and not Path(data).is_dir()
    for option, value, fits in (('--val-csv', val_csv, table), ('--data-root', data_root, not Path(data).is_dir())):
        if value is not None and not fits:
            raise ValueError(
                f'{option} {value} says nothing of --data {data}; --val-csv is for a table, --data-root for that or '
                'for a data set by name'
            )
    if Path(data).is_dir():
        parts = _folder(Path(data))
    elif table:
        parts = _table(Path(data), data_root, val_csv, Path(lists))
    else:
        parts = _named(data, data_root)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        train, val = (_built(part, data) for part in parts)
    first = train.get_data_info(0)
    if np.ndim(first['gt_label']):
        raise ValueError(f'--data {data}: an image has several labels, but distillation takes data sets with one each')
    labels = {int(train.get_data_info(i)['gt_label']) for i in range(len(train))} if train.CLASSES is None else ()
    classes = tuple(train.CLASSES or map(str, range(max(labels) + 1)))
    if len(classes) < 2:
        raise ValueError(f'--data {data}: {len(classes)} class, but at least 2 are needed')
    grey = 'img' in first and (first['img'].ndim == 2 or first['img'].shape[-1] == 1)
    load = LOAD if 'img' not in first else TO_COLOUR if grey else []
    return OwnData(*parts, classes, (len(train), len(val)), load, to_rgb='img' not in first)


def _built(config: dict, data: str) -> Any:
    try:
        return DATASETS.build(config)
    except Exception as error:
        raise ValueError(f'--data {data}: {type(error).__name__}: {error}') from error


def _folder(folder: Path) -> tuple[dict, dict]:
    names = {}
    for part in ('train', 'val'):
        if not (folder / part).is_dir():
            raise ValueError(f'--data {folder}: it has no folder {part}/; {FOLDER_HELP}')
        names[part] = {path.name for path in (folder / part).iterdir() if path.is_dir()}
    if names['train'] != names['val']:
        only = {part: sorted(names[part] - names[other])[:3] for part, other in (('train', 'val'), ('val', 'train'))}
        raise ValueError(
            f'--data {folder}: train/ and val/ must hold the same classes, but only train/ has {only["train"]} and '
            f'only val/ has {only["val"]}; {FOLDER_HELP}'
        )
    for part, classes in names.items():
        for name in sorted(classes):
            _check_class(folder, part, name)
    return tuple(
        dict(type='CustomDataset', data_root=str(folder), data_prefix=part, extensions=list(EXTENSIONS))
        for part in names
    )


def _check_class(folder: Path, part: str, name: str) -> None:
    """Refuse a class of which an image, or every image, would not be found; in val/ a folder may be empty."""
    files = list(list_dir_or_file(str(folder / part / name), list_dir=False, recursive=True))
    others = [file for file in files if not file.lower().endswith(EXTENSIONS)]
    images = [file for file in others if (mimetypes.guess_type(file)[0] or '').startswith('image/')]
    valid = f'valid are images that end with {", ".join(EXTENSIONS)}'
    if images:
        raise ValueError(
            f'--data {folder}: of {part}/{name} {len(images)} of {len(files)} files, which are images, would be left '
            f'out, such as {images[0]}; {valid}. Convert the others, or move them away'
        )
    if len(others) == len(files) and (others or part == 'train'):
        raise ValueError(
            f'--data {folder}: {part}/{name} holds no image{others and f", but files such as {others[0]}" or ""}; '
            f'{valid}, and in train/ at least one of each class'
        )


def _table(table: Path, data_root: str | None, val_csv: str | None, lists: Path) -> tuple[dict, dict]:
    """Turn a table into MMPretrain's lists of paths and numbers."""
    rows = {'train': _rows(table, '--data')}
    splits = {row.split for row in rows['train']}
    if val_csv is not None:
        rows['val'] = _rows(Path(val_csv), '--val-csv')
        if any(row.split for row in (*rows['train'], *rows['val'])):
            raise ValueError(
                f"--data {table} with --val-csv {val_csv}: there is a column 'split', which would not count; {CSV_HELP}"
            )
    else:
        strange = next((row for row in rows['train'] if row.split not in (None, 'train', 'val')), None)
        if strange or len(splits) != 2:
            at = f'{strange.at}: ' if strange else f'--data {table}: '
            raise ValueError(f"{at}the column 'split' holds {_some(splits)}; {CSV_HELP}")
        rows = {part: [row for row in rows['train'] if row.split == part] for part in ('train', 'val')}
    classes = sorted({row.label for row in rows['train']})
    root = Path(data_root) if data_root else table.parent
    lists.mkdir(parents=True, exist_ok=True)
    configs = []
    for part, part_rows in rows.items():
        for row in part_rows:
            if row.label not in classes:
                raise ValueError(f'{row.at}: the label {row.label!r} is in no training row; valid are {_some(classes)}')
            if not (root / row.path).is_file():
                raise ValueError(
                    f'{row.at}: {root / row.path} is no file; valid are paths relative to --data-root, or, without '
                    'that, to the folder of the table that --data names'
                )
        text = ''.join(f'{row.path} {classes.index(row.label)}\n' for row in part_rows)
        (lists / f'{part}.txt').write_text(text)
        configs.append(
            dict(
                type='CustomDataset',
                ann_file=str((lists / f'{part}.txt').absolute()),
                data_prefix=str(root.absolute()),
                metainfo=dict(classes=classes),
            )
        )
    return tuple(configs)


class _Row(NamedTuple):
    """Of a table: what it says, and for error messages where it stands."""

    path: str
    label: str
    split: str | None
    at: str


def _rows(table: Path, option: str) -> list[_Row]:
    if not table.is_file():
        raise ValueError(f'{option} {table}: there is no such file; {CSV_HELP}')
    try:
        text = table.read_bytes().decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b'\n') + 1
        raise ValueError(
            f'{option} {table}, line {line}: it is not in UTF-8 ({error.reason}); valid is UTF-8'
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=''))
    if not {'path', 'label'} <= set(reader.fieldnames or ()):
        raise ValueError(f'{option} {table}: the first line names {reader.fieldnames}; {CSV_HELP}')
    rows = []
    for cells in reader:
        at = f'{option} {table}, line {reader.line_num}'
        missing = [name for name in reader.fieldnames if name in ('path', 'label', 'split') and not cells[name]]
        if missing:
            raise ValueError(f'{at}: it has no {" and no ".join(missing)}; {CSV_HELP}')
        rows.append(_Row(cells['path'], cells['label'], cells.get('split'), at))
    if not rows:
        raise ValueError(f'{option} {table}: it has no rows; {CSV_HELP}')
    return rows


def _named(name: str, data_root: str | None) -> tuple[dict, dict]:
    """A data set by name, with the first splits that it has."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        if DATASETS.get(name) is None:
            near = get_close_matches(name, DATASETS.module_dict, n=3, cutoff=0.5)
            raise ValueError(
                f'--data {name}: neither a folder, nor a file *.csv, nor a data set that MMPretrain knows; '
                + (f'nearest: {", ".join(near)}' if near else f'{FOLDER_HELP}; for a table {CSV_HELP}')
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
                    f'--data {name} with --data-root {data_root}: {"; ".join(errors)}. Valid is a --data-root with the '
                    'files of that data set'
                )
    return tuple(configs)


def _some(values: Sequence | set) -> str:
    values = sorted(values, key=str)
    return ', '.join(map(repr, values[:5])) + (f' and {len(values) - 5} more' if len(values) > 5 else '')
