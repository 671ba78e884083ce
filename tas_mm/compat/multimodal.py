"""MMPretrain's multimodal models: they need a transformers below 5, and with another nothing of it can be imported.

It imports them where transformers and pycocotools are installed, whatever their versions; detection brings the latter.
"""

from __future__ import annotations


def adapt(adapted: dict[str, str]) -> None:
    """Let MMPretrain leave them out if transformers has not what they import."""
    from mmpretrain.utils import dependency

    if not dependency.WITH_MULTIMODAL:
        return
    try:
        from transformers.pytorch_utils import find_pruneable_heads_and_indices  # noqa: F401
    except ImportError:
        dependency.WITH_MULTIMODAL = False
        adapted['mmpretrain (multimodal)'] = 'left out: its multimodal models need transformers below 5'
