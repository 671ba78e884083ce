"""View of MMSegmentation's segmentors: the backbone is cut as a classifier's, and features are those of regions.

As in a detector there are no logits of regions: a decode head may read all stages of one network.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..stages.chain import ChainView
from ..stages.registry import Cut, names_of, register_view
from ..utils import Grid
from .detectors import BACKBONES, SIZE, DetectorView

SEGMENTING = BACKBONES | {name.replace('mmdet.', 'mmseg.'): cut for name, cut in BACKBONES.items()}


@register_view('mmseg.BaseSegmentor')
class SegmentorView(DetectorView):
    """View of a segmentor with one of ``SEGMENTING``. Its features are read where the backbone ends."""

    feature_source, feature_side = 'backbone', 'output'
    dense_source = None

    def __init__(self, model: nn.Module, input_size: Grid | None = None, key: str = 'model') -> None:
        names = names_of(model.backbone)
        cut: Cut | None = next((SEGMENTING[name] for name in names if name in SEGMENTING), None)
        if cut is None:
            raise ValueError(
                f'{key}.backbone: no stage view for {names[0]} in a segmentor. Expected ResNet or SwinTransformer of '
                'MMSegmentation, or SwinTransformer, ConvNeXt or another convolutional network of MMPretrain'
            )
        ChainView.__init__(self, model, input_size or SIZE, key, cut)

    def run_tail(self, native: Any, start: int = 4) -> None:
        """Run stages ``start`` to 4. An :class:`Observer` sees their output as the backbone's."""
        self.show(self.run_backbone(native, start), native)
