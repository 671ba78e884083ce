"""Adapters for faults of other packages, each applied only where the original fails.

``adapt()`` runs once, when ``tas_mm`` is imported. Each adapter first tries the original. If trying would need a
download, it inspects the original for the fault instead. On a stack that works, nothing changes. ``ADAPTED`` lists the
changes for the doctor. Policies of tas_mm are elsewhere; see ``tas_mm.models.loading.safe_loading``.
"""

from __future__ import annotations

ADAPTED: dict[str, str] = {}
"""Package name -> what was adapted and why, in one line. Empty if every original works."""


def adapt() -> None:
    """Make the stack importable. Raises the original error if no adapter can help."""
    from . import checkpoints, classifiers, configs, labels, multimodal, razor, razor_losses, sync_bn, vision

    for adapter in (vision, multimodal, razor, razor_losses, checkpoints, classifiers, configs, labels, sync_bn):
        adapter.adapt(ADAPTED)
