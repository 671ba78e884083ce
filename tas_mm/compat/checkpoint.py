"""Loading checkpoints without running code that they bring.

A checkpoint is a pickle, and a pickle may call anything. ``torch.load(weights_only=True)`` refuses all but tensors,
plain containers and an allow-list. MMEngine does not hold to that. The maintained fork tries it, with ``getattr`` on
the list, and falls back to loading everything. Upstream 0.10.7 leaves it to torch, whose default since 2.6 refuses
MMEngine's own checkpoints. Both fetch URLs with ``weights_only=False``.

All of them go through ``CheckpointLoader.load_checkpoint``: weights named in a config, a teacher's, ``load_from`` and
``resume``. Here it gets torch's own switch for the time of the call, and a list with just what the toolboxes put into
their checkpoints. timm's own loader restricts itself.
"""

from __future__ import annotations

import functools
import os
import re
from argparse import Namespace
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

RESTRICT, TRUST = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
"""torch's environment variables: restrict every load, and trust every load that does not say."""


def adapt(adapted: dict[str, str]) -> None:
    """Restrict what MMEngine loads from checkpoints, on any torch that can."""
    import mmengine.runner.checkpoint as mmengine_checkpoint
    import torch

    loader = mmengine_checkpoint.CheckpointLoader
    if hasattr(loader.load_checkpoint, 'restricted'):
        return
    if not hasattr(torch.serialization, 'safe_globals'):
        adapted['torch (checkpoints)'] = 'cannot restrict what a checkpoint runs; load only files that you trust'
        return
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):  # the fork's, which falls back to loading everything
        mmengine_checkpoint._safe_torch_load = _plain_load
    loader.load_checkpoint = classmethod(_restricted(loader.load_checkpoint.__func__))
    adapted['mmengine (checkpoints)'] = 'loads tensors and its own classes from checkpoints, and refuses all else'


def _plain_load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    import torch

    return torch.load(file, map_location=map_location)


def _restricted(load: Callable) -> Callable:
    @functools.wraps(load)
    def load_checkpoint(cls: type, filename: str, map_location: Any = None, logger: str | None = 'current') -> Any:
        import torch

        from tas_mm.checkpoint import damage

        if os.getenv(TRUST, '0').lower() in ('1', 'y', 'yes', 'true'):
            return load(cls, filename, map_location, logger)
        if os.path.isfile(path := os.path.expanduser(filename)) and (problem := damage(path)):
            raise ValueError(f'checkpoint {filename!r} cannot be used: {problem}')
        before = os.environ.get(RESTRICT)
        os.environ[RESTRICT] = '1'
        try:
            with torch.serialization.safe_globals(_known()):
                return load(cls, filename, map_location, logger)
        except UnpicklingError as error:
            wanted = re.search(r'GLOBAL (\S+)', str(error))
            reason = (
                f'it wants {wanted[1]!r}' if wanted else str(error).rpartition('error: ')[-1].split('\n\n')[-2].strip()
            )
            raise UnpicklingError(
                f'{filename!r} is refused: {reason}, and a checkpoint may hold only tensors, plain values and what the '
                'toolboxes save. Loading more can run any code that the file brings. If you trust where it comes from, '
                f'set {TRUST}=1 in the environment and run again'
            ) from None
        finally:
            os.environ.pop(RESTRICT) if before is None else os.environ.update({RESTRICT: before})

    load_checkpoint.restricted = True
    return load_checkpoint


@functools.cache
def _known() -> list:
    """What the toolboxes put into their checkpoints beside tensors and plain values."""
    import numpy as np
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    # Two classes keep methods of theirs, which pickle writes as getattr(class, name). The getattr in the list knows
    # just those: the real one would hand out any attribute of anything.
    methods = {
        (cls, name): getattr(cls, name)
        for cls, names in (
            (HistoryBuffer, ('min', 'max', 'current', 'mean')),
            (OneCycleParamScheduler, ('_annealing_cos', '_annealing_linear')),
        )
        for name in names
    }

    def known_method(cls: Any, name: str) -> Any:
        if isinstance(cls, type) and (cls, name) in methods:
            return methods[cls, name]
        raise UnpicklingError(f'GLOBAL getattr({getattr(cls, "__name__", type(cls).__name__)},{name}) is not allowed')

    multiarray = (getattr(np, '_core', None) or np.core).multiarray
    return [
        HistoryBuffer,
        OneCycleParamScheduler,
        Namespace,  # in timm's training checkpoints
        _named(known_method, 'builtins', 'getattr'),
        slice,
        bytes,  # how an empty array begins
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['Float'] + '?SU'},
        # numpy 2 moved these two; a file may be from either side.
        *(
            _named(getattr(multiarray, name), f'numpy.{core}.multiarray', name)
            for name in ('_reconstruct', 'scalar')
            for core in ('core', '_core')
        ),
    ]


def _named(function: Callable, module: str, name: str) -> Callable:
    """A function under the name by which a pickle asks for it."""

    def named(*args: Any) -> Any:
        return function(*args)

    named.__module__, named.__qualname__, named.__name__ = module, name, name  # older torch asks for the last
    return named
