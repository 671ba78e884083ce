"""MMEngine's own checkpoints beside a torch that reads tensors alone.

``torch.load`` has read with ``weights_only=True`` by default since 2.6. Upstream MMEngine 0.10.7 leaves it to that
default, which refuses the histories and schedules in MMEngine's checkpoints: no run could be resumed. The maintained
fork names them to torch by itself.
"""

from __future__ import annotations

import functools
import io
from argparse import Namespace
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any


def adapt(adapted: dict[str, str]) -> None:
    """Name MMEngine's classes to torch if its loader cannot read what its runner saves."""
    import mmengine.runner.checkpoint as mmengine_checkpoint
    import torch
    from mmengine.logging import HistoryBuffer

    if hasattr(mmengine_checkpoint, '_safe_torch_load'):  # the fork's, which allows them
        return
    file = io.BytesIO()
    torch.save(HistoryBuffer(), file)
    file.seek(0)
    try:
        torch.load(file)
    except UnpicklingError:
        torch.serialization.add_safe_globals(known_globals())
        adapted['mmengine (checkpoints)'] = (
            'cannot read its own checkpoints with this torch; named its classes to torch'
        )


@functools.cache
def known_globals() -> list:
    """List what the toolboxes save beside tensors and plain values, for ``torch.serialization.safe_globals``."""
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
    """Wrap a function under the name by which a pickle asks for it."""

    def named(*args: Any) -> Any:
        return function(*args)

    named.__module__, named.__qualname__, named.__name__ = module, name, name  # older torch asks for the last
    return named
