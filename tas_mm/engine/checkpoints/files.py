"""Single files: written so that a crash loses nothing, and checked before use.

A crash during writing must not destroy the file that is replaced. So the new one is written beside it and forced to the
disk, and only then renamed, which a file system does completely or not at all.
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
"""First bytes of files from ``torch.save``. Before torch 1.6 they were not zip archives."""
ATOMIC_BACKEND = 'tas_mm_atomic'
"""Name of :class:`AtomicFileBackend` among MMEngine's file backends."""


def atomic_write(data: bytes, path: str | Path) -> None:
    """Write a file so that a crash leaves either the previous one or the new one.

    Args:
        data (bytes): The content.
        path (str | Path): The file. A crash may leave a half-written ``{path}.tmp``; the next write replaces it.

    Raises:
        OSError: If it cannot be written, for example on a full disk. The previous file is unchanged.
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
            space = f': it takes {len(data) / 2**20:.1f} MiB, but {free / 2**20:.1f} MiB are free'
        raise OSError(
            error.errno,
            f'{path} was not saved ({error.strerror}{space}). Earlier files are unchanged. Fix this and resume with '
            '--resume',
        ) from error
    with suppress(OSError):  # sync the directory entry; not every file system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@register_backend(ATOMIC_BACKEND, force=True)
class AtomicFileBackend(LocalBackend):
    """Storage backend whose local files are complete or absent."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes with :func:`atomic_write`."""
        atomic_write(obj, filepath)


def check_readable(checkpoint: str) -> None:
    """Check that a file is a checkpoint before anything is built. URLs are not checked.

    Args:
        checkpoint (str): File or URL that a user named.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If ``torch.save`` did not write it, or if it is corrupt.
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
