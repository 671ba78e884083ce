"""Checkpoint files of a run: written atomically, checked for corruption, resumed from, archived.

Reading them under a policy (:func:`safe_loading`) is in ``tas_mm.models.loading``, since models read weights too.
"""

from tas_mm.models.loading import find_corruption, read_checkpoint, safe_loading

from .files import ATOMIC_BACKEND, AtomicFileBackend, atomic_write, check_readable
from .previous import archive_previous_run, latest_checkpoint, resume_from_latest

__all__ = [
    'ATOMIC_BACKEND',
    'AtomicFileBackend',
    'archive_previous_run',
    'atomic_write',
    'check_readable',
    'find_corruption',
    'latest_checkpoint',
    'read_checkpoint',
    'resume_from_latest',
    'safe_loading',
]
