"""Adapters for faults of other packages, each applied only where the original fails.

``adapt()`` runs once, when ``tas_mm`` is imported. Each adapter first tries the original. If trying would need a
download, it inspects the original for the fault instead. On a stack that works, nothing changes. ``ADAPTED`` lists the
changes for the doctor. Policies of tas_mm are elsewhere; see ``tas_mm.models.loading.safe_loading``.
"""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from io import StringIO

ADAPTED: dict[str, str] = {}
"""Package name -> what was adapted and why, in one line. Empty if every original works."""


def adapt() -> None:
    """Make the stack importable. Raises the original error if no adapter can help."""
    from . import checkpoints, classifiers, configs, labels, multimodal, razor, razor_losses, sync_bn, vision

    # mmcv-lite warns of an operator that it lacks, whatever is imported of it.
    warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
    for adapter in (vision, multimodal, razor, razor_losses, checkpoints, classifiers, configs, labels, sync_bn):
        adapter.adapt(ADAPTED)
    with redirect_stdout(StringIO()):  # the fork prints that an optional dataset is missing
        import mmpretrain.datasets  # noqa: F401
