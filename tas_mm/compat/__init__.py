"""Everything that knows versions of other packages.

``adapt()`` runs once, when ``tas_mm`` is imported. Each adapter first tries the original and only steps in where that
fails, so with a stack that works by itself nothing is touched. What was adapted is kept in ``ADAPTED`` for the doctor.
"""

from __future__ import annotations

ADAPTED: dict[str, str] = {}
"""Package name -> what was adapted and why, in one line. Empty where every original worked."""


def adapt() -> None:
    """Make the stack importable. Raises what the original raises where no adapter can help."""
    from . import checkpoint, classifiers, configs, multimodal, razor, sync_bn, vision

    for adapter in (vision, multimodal, razor, checkpoint, classifiers, configs, sync_bn):
        adapter.adapt(ADAPTED)
