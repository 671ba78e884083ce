"""Loading Runner checkpoints since torch 2.6, whose ``torch.load`` defaults to ``weights_only=True``.

The maintained fork of MMEngine loads them. Upstream 0.10.7 does not: a Runner checkpoint holds, beside tensors, some of
MMEngine's and numpy's own classes. They are put on torch's allow-list, so loading stays restricted to known classes.
"""

from __future__ import annotations


def adapt(adapted: dict[str, str]) -> None:
    """Extend torch's allow-list if this MMEngine leaves ``weights_only`` to torch's default."""
    import mmengine.runner.checkpoint as mmengine_checkpoint
    import torch

    if hasattr(mmengine_checkpoint, 'get_torch_safe_globals') or not hasattr(torch.serialization, 'add_safe_globals'):
        return
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core = getattr(np, '_core', None) or np.core
    # HistoryBuffer pickles its methods by name, hence getattr; the maintained fork's own list has it too.
    torch.serialization.add_safe_globals(
        [HistoryBuffer, getattr, slice, np.ndarray, np.dtype, core.multiarray._reconstruct, core.multiarray.scalar]
        + [type(np.dtype(code)) for code in ('uint32', 'uint64', 'int32', 'int64', 'float32', 'float64')]
    )
    adapted['mmengine'] = 'leaves weights_only to torch; its own classes in Runner checkpoints allow-listed'
