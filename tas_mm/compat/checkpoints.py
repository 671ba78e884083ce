"""Let MMEngine read its own checkpoints with a torch that only loads tensors.

``torch.load`` defaults to ``weights_only=True`` since 2.6. Upstream MMEngine 0.10.7 relies on that default, which
rejects the histories and schedules in MMEngine's checkpoints, so no run could be resumed. The maintained fork allows
those classes itself.
"""

from __future__ import annotations

import functools
import io
from argparse import Namespace
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any


def adapt(adapted: dict[str, str]) -> None:
    """Add MMEngine's classes to torch's allow-list if its loader cannot read what its runner saves."""
    import mmengine.runner.checkpoint as mmengine_checkpoint
    import torch
    from mmengine.logging import HistoryBuffer

    if hasattr(mmengine_checkpoint, '_safe_torch_load'):  # the fork's loader, which allows them
        return
    file = io.BytesIO()
    torch.save(HistoryBuffer(), file)
    file.seek(0)
    try:
        torch.load(file)
    except UnpicklingError:
        torch.serialization.add_safe_globals(known_globals())
        adapted['mmengine (checkpoints)'] = (
            'cannot read its own checkpoints with this torch; added its classes to the allow-list'
        )


@functools.cache
def known_globals() -> list:
    """List what the toolboxes save besides tensors and plain values, for ``torch.serialization.safe_globals``."""
    import numpy as np
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    # Two classes store their own methods, which pickle writes as getattr(class, name). The getattr in the list allows
    # only those. The real getattr would give access to any attribute of anything.
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
        # numpy 2 moved these two; a file may be from either version.
        *(
            _named(getattr(multiarray, name), f'numpy.{core}.multiarray', name)
            for name in ('_reconstruct', 'scalar')
            for core in ('core', '_core')
        ),
    ]


def _named(function: Callable, module: str, name: str) -> Callable:
    """Wrap a function under the name that a pickle refers to."""

    def named(*args: Any) -> Any:
        return function(*args)

    named.__module__, named.__qualname__, named.__name__ = module, name, name  # older torch reads __name__
    return named
