"""A previous run's files in a work folder: resume from them, or archive them when a new run begins."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from itertools import count
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from tas_mm.models.loading import find_corruption

from .files import atomic_write


def resume_from_latest(cfg: Config, work_dir: str | Path) -> None:
    """Make a run resume from its latest checkpoint, or start as its config says if there is none.

    Args:
        cfg (Config): Config of the run. Its ``resume`` and ``load_from`` are set.
        work_dir (str | Path): Work folder of the run.

    Raises:
        ValueError: If there are checkpoints, but all of them are corrupt.
    """
    last = latest_checkpoint(work_dir)
    cfg.resume, cfg.load_from = last is not None, last or cfg.get('load_from')


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Find the checkpoint to resume from: the one in ``last_checkpoint`` or, if that is lost, the previous one.

    Args:
        work_dir (str | Path): Work folder of the run.

    Returns:
        str | None: Its path, or None if the run has not saved one. A path that is not local (``s3://``) is not checked.

    Raises:
        ValueError: If there are checkpoints, but all of them are corrupt. A new training would overwrite them.
    """
    pointer = Path(work_dir) / 'last_checkpoint'
    name = pointer.read_text().strip() if pointer.is_file() else ''
    if '://' in name:
        return name
    named = [Path(name)] if name else []  # a full disk may have left an empty file
    folder = named[0].parent if named and named[0].parent.is_dir() else Path(work_dir)
    others = [path for path in folder.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+\.pth', path.name)]
    others.sort(key=lambda path: (path.stat().st_mtime, int(path.stem.split('_')[1])), reverse=True)
    lost = []
    for path in named + [path for path in others if path not in named]:
        problem = find_corruption(path) if path.is_file() else 'it does not exist'
        if problem is None:
            if lost:
                print_log(
                    f'{" and ".join(lost)}. Resuming from the previous one, {path}',
                    logger='current',
                    level=logging.WARNING,
                )
            return str(path)
        lost.append(f'{path} cannot be used: {problem}')
    if lost:
        raise ValueError(
            f'cannot resume: {"; ".join(lost)}; and {folder} has no other checkpoint. Name one with --resume FILE, or '
            'move these away to train from the start'
        )
    return None


def archive_previous_run(folder: str | Path, pattern: str, work_dir: str | Path) -> Path | None:
    """Move a previous run's checkpoints away when a new run begins in its folder.

    The new run would overwrite its files one by one. Before the first is overwritten, ``--resume`` would resume the
    previous run.

    Args:
        folder (str | Path): Folder of the checkpoints.
        pattern (str): Pattern of their names, such as ``epoch_*.pth``. Best checkpoints and students' files are
            included.
        work_dir (str | Path): Folder of ``last_checkpoint``.

    Returns:
        Path | None: The archive, ``earlier_{time of the newest}``, from which ``--work-dir`` and ``--resume`` resume
        that run. None if there were no checkpoints.
    """
    folder, pointer = Path(folder), Path(work_dir) / 'last_checkpoint'
    names = (pattern, 'best_*.pth', f'student_{pattern}', 'student_best_*.pth')
    found = {path for name in names for path in folder.glob(name)}
    if not found:
        return None
    archive = _archive_folder(folder, found)
    archive.mkdir(exist_ok=True)
    for path in found:
        path.rename(archive / path.name)
    if pointer.is_file():
        last = archive / Path(pointer.read_text().strip()).name
        if last.exists():
            atomic_write(str(last).encode(), archive / pointer.name)
        pointer.unlink()
    return archive


def _archive_folder(folder: Path, found: set[Path]) -> Path:
    """Return a folder named after the newest file.

    An interrupted move continues in its folder. Another run from the same second is not overwritten.
    """
    newest = max(path.stat().st_mtime for path in found)
    name = f'earlier_{datetime.fromtimestamp(newest):%Y%m%d_%H%M%S}'
    candidates = (folder / name if n == 1 else folder / f'{name}_{n}' for n in count(1))
    return next(each for each in candidates if not any((each / path.name).exists() for path in found))
