"""Adapters for faults of other packages, each applied only where the original fails.

``adapt()`` runs once, when ``tas_mm`` is imported. Each adapter first tries the original, or looks for the fault in it
where a try would need a download. With a stack that works by itself it changes nothing. ``ADAPTED`` lists the changes
for the doctor. Policies of tas_mm are elsewhere: see ``tas_mm.models.loading.safe_loading``.
"""

from __future__ import annotations

ADAPTED: dict[str, str] = {}
"""Package name -> what was adapted and why, in one line. Empty where every original works."""


def adapt() -> None:
    """Make the stack importable. Raises what the original raises where no adapter can help."""
    from . import checkpoints, classifiers, configs, labels, multimodal, razor, razor_losses, sync_bn, vision

    for adapter in (vision, multimodal, razor, razor_losses, checkpoints, classifiers, configs, labels, sync_bn):
        adapter.adapt(ADAPTED)
