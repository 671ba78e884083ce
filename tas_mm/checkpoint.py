"""Checkpoint files: written whole or not at all, and checked before they are trusted.

A crash while a file is written must not cost the one that it replaces. So the new one is written beside it, forced to
the disk, and only then takes its name, which a file system does at once or not at all.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import zipfile
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log


def write_whole(data: bytes, path: str | Path) -> None:
    """Write a file such that a crash leaves either the previous one or the new one.

    Args:
        data (bytes): What to write.
        path (str | Path): Where. A file that a crash left half written is ``{path}.tmp``; the next write takes it over.

    Raises:
        OSError: If it cannot be written, such as on a full disk. The previous file is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.tmp')
    try:
        with open(temporary, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        space = ''
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            space = f': it takes {len(data) / 2**20:.1f} MiB, and {free / 2**20:.1f} MiB are free'
        raise OSError(
            error.errno,
            f'{path} was not saved ({error.strerror}{space}). What was saved before is as it was; put this right and '
            'go on with --resume',
        ) from error
    with suppress(OSError):  # the name itself; not every file system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def damage(path: str | Path) -> str | None:
    """What is wrong with a file as ``torch.save`` writes it; None if nothing is, or if it is of another format.

    torch reads files with flipped bits without complaint, so the checksums that it writes are compared here.
    """
    path = Path(path)
    if not path.stat().st_size:
        return 'it is empty'
    with open(path, 'rb') as file:
        if file.read(2) != b'PK':
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile as error:
        return f'it is cut short or damaged ({error})'
    return f'the checksum of its part {broken!r} is wrong' if broken else None


def go_on(cfg: Config, work_dir: str | Path) -> None:
    """Let a run go on from its newest checkpoint; with none yet it begins as its config says.

    Args:
        cfg (Config): Of the run; its ``resume`` and ``load_from`` are set.
        work_dir (str | Path): The work folder of the run.

    Raises:
        ValueError: If there are checkpoints, but none of them is whole.
    """
    last = newest_checkpoint(work_dir)
    cfg.resume, cfg.load_from = last is not None, last or cfg.get('load_from')


def set_aside(folder: str | Path, pattern: str, work_dir: str | Path) -> Path | None:
    """Move an earlier run's checkpoints out of the way of one that begins anew in its folder.

    Its files would be written over one by one, and until the first of them is, ``--resume`` would go on with it.

    Args:
        folder (str | Path): Where checkpoints are saved.
        pattern (str): Of their names, such as ``epoch_*.pth``; the best and the students' files are known.
        work_dir (str | Path): Where ``last_checkpoint`` is.

    Returns:
        Path | None: Where they are now, ``earlier_{time of the newest}``, from which ``--work-dir`` and ``--resume`` go
        on with that run; None if there were none.
    """
    folder, pointer = Path(folder), Path(work_dir) / 'last_checkpoint'
    names = (pattern, 'best_*.pth', f'student_{pattern}', 'student_best_*.pth')
    found = {path for name in names for path in folder.glob(name)}
    if not found:
        return None
    newest = max(path.stat().st_mtime for path in found)
    name = f'earlier_{datetime.fromtimestamp(newest):%Y%m%d_%H%M%S}'
    # a folder that a killed move began is gone on with; one with another run of that second in it is not written over
    free = (folder / name if n == 1 else folder / f'{name}_{n}' for n in count(1))
    aside = next(aside for aside in free if not any((aside / path.name).exists() for path in found))
    aside.mkdir(exist_ok=True)
    for path in found:
        path.rename(aside / path.name)
    if pointer.is_file():
        last = aside / Path(pointer.read_text().strip()).name
        if last.exists():
            write_whole(str(last).encode(), aside / pointer.name)
        pointer.unlink()
    return aside


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """The checkpoint from which a run goes on: the one in ``last_checkpoint``, or if that one is lost, the one before.

    Args:
        work_dir (str | Path): The work folder of the run.

    Returns:
        str | None: Its path; None if the run has saved none yet. One that is not local (``s3://``) is not looked at.

    Raises:
        ValueError: If there are checkpoints, but none of them is whole. Training anew would write over them.
    """
    pointer = Path(work_dir) / 'last_checkpoint'
    name = pointer.read_text().strip() if pointer.is_file() else ''
    if '://' in name:
        return name
    named = [Path(name)] if name else []  # a full disk may have left an empty file
    folder = named[0].parent if named and named[0].parent.is_dir() else Path(work_dir)
    others = [path for path in folder.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+\.pth', path.name)]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    lost = []
    for path in named + [path for path in others if path not in named]:
        problem = damage(path) if path.is_file() else 'it does not exist'
        if problem is None:
            if lost:
                print_log(
                    f'{" and ".join(lost)}. Going on from the one before, {path}',
                    logger='current',
                    level=logging.WARNING,
                )
            return str(path)
        lost.append(f'{path} cannot be used: {problem}')
    if lost:
        raise ValueError(
            f'cannot resume: {"; ".join(lost)}; and {folder} has no other checkpoint. Name one with --resume FILE, or '
            'move these away to train anew'
        )
    return None
