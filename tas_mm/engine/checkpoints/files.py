"""Single files: written such that a crash costs nothing, and checked before they are trusted.

A crash while a file is written must not cost the one that it replaces. So the new one is written beside it, forced to
the disk, and only then takes its name, which a file system does at once or not at all.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from tas_mm.models.loading import find_corruption

ZIP, PICKLE = b'PK', b'\x80'
"""What files of ``torch.save`` begin with; before torch 1.6 they were not zip archives."""
ATOMIC_BACKEND = 'tas_mm_atomic'
"""Name of :class:`AtomicFileBackend` among MMEngine's file backends."""


def atomic_write(data: bytes, path: str | Path) -> None:
    """Write a file such that a crash leaves either the previous one or the new one.

    Args:
        data (bytes): The content.
        path (str | Path): The file. A crash may leave a half-written ``{path}.tmp``; the next write replaces it.

    Raises:
        OSError: If it cannot be written, such as on a full disk. The previous file is unchanged.
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
            f'{path} was not saved ({error.strerror}{space}). Earlier files are unchanged; fix this and resume with '
            '--resume',
        ) from error
    with suppress(OSError):  # the name itself; not every file system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@register_backend(ATOMIC_BACKEND, force=True)
class AtomicFileBackend(LocalBackend):
    """Local files that are complete or absent."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes with :func:`atomic_write`."""
        atomic_write(obj, filepath)


def check_readable(checkpoint: str) -> None:
    """Check that a file is a checkpoint before anything is built; a URL is not checked.

    Args:
        checkpoint (str): File or URL, as a user named it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If ``torch.save`` did not write it, or it is corrupt.
    """
    if '://' in checkpoint:
        return
    if not os.path.isfile(checkpoint):
        raise FileNotFoundError(f'checkpoint {checkpoint!r} does not exist (relative to {Path.cwd()})')
    problem = find_corruption(checkpoint)
    with open(checkpoint, 'rb') as file:
        if not problem and not file.read(2).startswith((ZIP, PICKLE)):
            problem = 'torch.save did not write it'
    if problem:
        raise ValueError(f'{checkpoint!r} cannot be read: {problem}. Expected a checkpoint of a run')
