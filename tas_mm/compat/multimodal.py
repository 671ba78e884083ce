"""MMPretrain's multimodal models, which need transformers below 5. With a newer one, MMPretrain cannot be imported.

MMPretrain imports them if transformers and pycocotools are installed, in any version. Detection needs the latter.
"""

from __future__ import annotations


def adapt(adapted: dict[str, str]) -> None:
    """Make MMPretrain skip them if transformers lacks what they import."""
    from mmpretrain.utils import dependency

    if not dependency.WITH_MULTIMODAL:
        return
    try:
        from transformers.pytorch_utils import find_pruneable_heads_and_indices  # noqa: F401
    except ImportError:
        dependency.WITH_MULTIMODAL = False
        adapted['mmpretrain (multimodal)'] = 'left out: its multimodal models need transformers below 5'
