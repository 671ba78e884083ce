"""Read checkpoint files without running code that they contain.

A checkpoint is a pickle, and a pickle may call anything. ``torch.load(weights_only=True)`` accepts only tensors, plain
containers and an allow-list. MMEngine does not rely on it: the maintained fork falls back to loading everything, and
both MMEngines load URLs with ``weights_only=False``.

So this package has its own policy, :func:`safe_loading`. Importing the package does not switch it on. The tools do, and
``tas_mm.CheckpointHook`` does for its run. Whatever tas_mm reads itself, such as a teacher's weights, goes through
:func:`read_checkpoint`.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import mmengine.runner.checkpoint as mmengine_checkpoint
import torch
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader

from tas_mm.compat.checkpoints import known_globals

RESTRICT, TRUST = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
"""torch's environment variables: one restricts every load, the other trusts every load that does not specify."""


def read_checkpoint(filename: str, logger: str = 'silent') -> Any:
    """Read a checkpoint to the CPU under the policy of :func:`safe_loading`.

    Args:
        filename (str): File or URL.
        logger (str): ``'current'`` logs the source. Defaults to ``'silent'``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is corrupt.
        UnpicklingError: If the file contains more than tensors, plain values and what the toolboxes save.
    """
    with safe_loading():
        return CheckpointLoader.load_checkpoint(filename, map_location='cpu', logger=logger)


@contextmanager
def safe_loading() -> Iterator[None]:
    """Make MMEngine load only tensors, plain values and what the toolboxes save, and raise for anything else.

    Inside, ``mmengine.runner.CheckpointLoader`` loads with torch's own restriction, and corrupt files are found by
    their checksums. That covers weights named in a config, ``load_from`` and ``resume``, from files and URLs.
    Afterwards MMEngine is as it was. ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1`` in the environment overrides the policy.

    Examples:
        >>> import tempfile, torch
        >>> file = tempfile.mkdtemp() + '/weights.pth'
        >>> torch.save(dict(weight=torch.zeros(2)), file)
        >>> with safe_loading():
        ...     print(CheckpointLoader.load_checkpoint(file, map_location='cpu', logger='silent'))
        {'weight': tensor([0., 0.])}
    """
    load = CheckpointLoader.load_checkpoint.__func__
    if hasattr(load, 'restricted'):  # nested
        yield
        return
    if not hasattr(torch.serialization, 'safe_globals'):
        print_log(
            f'torch {torch.__version__} cannot restrict what a checkpoint runs. Load only files that you trust',
            logger='current',
            level=logging.WARNING,
        )
        yield
        return
    fallback = getattr(mmengine_checkpoint, '_safe_torch_load', None)  # the fork's loader, which may load everything
    CheckpointLoader.load_checkpoint = classmethod(_restricted(load))
    if fallback is not None:
        mmengine_checkpoint._safe_torch_load = _plain_load
    try:
        yield
    finally:
        CheckpointLoader.load_checkpoint = classmethod(load)
        if fallback is not None:
            mmengine_checkpoint._safe_torch_load = fallback


def find_corruption(path: str | Path) -> str | None:
    """Describe what is wrong with a file written by ``torch.save``. Return None if it is intact or of another format.

    torch reads files with flipped bits without complaint, so this compares the checksums that it writes.

    Args:
        path (str | Path): The file.
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
        return f'it is truncated or corrupt ({error})'
    return f'the checksum of its part {broken!r} is wrong' if broken else None


def _plain_load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    return torch.load(file, map_location=map_location)


def _restricted(load: Callable) -> Callable:
    """Wrap ``CheckpointLoader.load_checkpoint``."""

    @functools.wraps(load)
    def load_checkpoint(cls: type, filename: str, map_location: Any = None, logger: str | None = 'current') -> Any:
        if os.getenv(TRUST, '0').lower() in ('1', 'y', 'yes', 'true'):
            return load(cls, filename, map_location, logger)
        if os.path.isfile(path := os.path.expanduser(filename)) and (problem := find_corruption(path)):
            raise ValueError(f'checkpoint {filename!r} cannot be used: {problem}')
        before = os.environ.get(RESTRICT)
        os.environ[RESTRICT] = '1'
        try:
            with torch.serialization.safe_globals(known_globals()):
                return load(cls, filename, map_location, logger)
        except UnpicklingError as error:
            raise _refusal(filename, str(error)) from None
        finally:
            os.environ.pop(RESTRICT) if before is None else os.environ.update({RESTRICT: before})

    load_checkpoint.restricted = True  # type: ignore[attr-defined]
    return load_checkpoint


def _refusal(filename: str, said: str) -> UnpicklingError:
    """Build the error for a file that torch did not load."""
    wanted = re.search(r'GLOBAL (\S+)', said)
    reason = f'it contains {wanted[1]!r}' if wanted else said.rpartition('error: ')[-1].split('\n\n')[-2].strip()
    return UnpicklingError(
        f'checkpoint {filename!r} was not loaded: {reason}. Expected only tensors, plain values and what the toolboxes '
        'save, because loading more can run any code in the file. If you trust its source, '
        f'set {TRUST}=1 in the environment and run again.'
    )
