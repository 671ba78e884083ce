"""View of MMSegmentation's segmentors: the backbone is cut as a classifier's, and features are those of regions.

As in a detector there are no logits of regions: a decode head may read all stages of one network.
"""

from __future__ import annotations

from typing import Any

from ..stages.registry import register_view
from .detectors import BACKBONES, DetectorView

SEGMENTING = BACKBONES | {name.replace('mmdet.', 'mmseg.'): cut for name, cut in BACKBONES.items()}


@register_view('mmseg.BaseSegmentor')
class SegmentorView(DetectorView):
    """View of a segmentor with one of ``SEGMENTING``. Its features are read where the backbone ends."""

    feature_source, feature_side = 'backbone', 'output'
    dense_source = pyramid_source = None
    kind, cuts, backbones = 'segmentor', SEGMENTING, 'ResNet or SwinTransformer of MMSegmentation'

    def run_tail(self, native: Any, start: int = 4) -> None:
        """Run stages ``start`` to 4. An :class:`Observer` sees their output as the backbone's."""
        self.show(self.run_backbone(native, start), native)
