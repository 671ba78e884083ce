"""Convert tables of paths and labels to MMPretrain's lists of paths and class numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

CSV_HELP = "Expected a header 'path,label,split', with split 'train' or 'val', or 'path,label' with --val-csv"


def table_parts(table: Path, data_root: str | None, val_csv: str | None, lists: Path) -> tuple[dict, dict]:
    """Convert a table to lists. Return the configs of the training and the validation part.

    Args:
        table (Path): The table, ``*.csv``.
        data_root (str, optional): Folder that the paths are relative to. None for the table's folder.
        val_csv (str, optional): A second table, for validation. None if the first one has a column ``split``.
        lists (Path): Folder for ``train.txt`` and ``val.txt``.

    Raises:
        ValueError: If the table is malformed, or names images that do not exist.
    """
    rows = {'train': _rows(table, '--data')}
    splits = {row.split for row in rows['train']}
    if val_csv is not None:
        rows['val'] = _rows(Path(val_csv), '--val-csv')
        if any(row.split for row in (*rows['train'], *rows['val'])):
            raise ValueError(
                f"--data {table} with --val-csv {val_csv}: the column 'split' would be ignored. {CSV_HELP}"
            )
    else:
        strange = next((row for row in rows['train'] if row.split not in (None, 'train', 'val')), None)
        if strange or len(splits) != 2:
            at = f'{strange.at}: ' if strange else f'--data {table}: '
            raise ValueError(f"{at}the column 'split' holds {_some(splits)}. {CSV_HELP}")
        rows = {part: [row for row in rows['train'] if row.split == part] for part in ('train', 'val')}
    classes = sorted({row.label for row in rows['train']})
    root = Path(data_root) if data_root else table.parent
    lists.mkdir(parents=True, exist_ok=True)
    configs = []
    for part, part_rows in rows.items():
        for row in part_rows:
            if row.label not in classes:
                raise ValueError(f'{row.at}: no training row is labeled {row.label!r}. Expected {_some(classes)}')
            if not (root / row.path).is_file():
                raise ValueError(
                    f'{row.at}: {root / row.path} is not a file. Expected a path relative to --data-root, or, without '
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
    train, val = configs
    return train, val


class _Row(NamedTuple):
    """Row of a table with its position, for error messages."""

    path: str
    label: str
    split: str | None
    at: str


def _rows(table: Path, option: str) -> list[_Row]:
    if not table.is_file():
        raise ValueError(f'{option} {table}: there is no such file. {CSV_HELP}')
    try:
        text = table.read_bytes().decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b'\n') + 1
        raise ValueError(f'{option} {table}, line {line}: it is not in UTF-8 ({error.reason})') from error
    reader = csv.DictReader(io.StringIO(text, newline=''))
    if not {'path', 'label'} <= set(reader.fieldnames or ()):
        raise ValueError(f'{option} {table}: the first line names {reader.fieldnames}. {CSV_HELP}')
    rows = []
    for cells in reader:
        at = f'{option} {table}, line {reader.line_num}'
        missing = [name for name in reader.fieldnames if name in ('path', 'label', 'split') and not cells[name]]
        if missing:
            raise ValueError(f'{at}: it does not have {" and ".join(missing)}. {CSV_HELP}')
        rows.append(_Row(cells['path'], cells['label'], cells.get('split'), at))
    if not rows:
        raise ValueError(f'{option} {table}: it does not have rows. {CSV_HELP}')
    return rows


def _some(values: Iterable) -> str:
    """List the first five values."""
    values = sorted(values, key=str)
    return ', '.join(map(repr, values[:5])) + (f' and {len(values) - 5} more' if len(values) > 5 else '')
