"""View of MMDetection's detectors: the backbone is cut like a classifier's, and features belong to regions.

Regions are the whole images and the boxes in them. A feature is the output of stage 4, pooled over a region. There are
no logits: a detector's head reads all stages of one network, but the assistant has the last stage of another.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..utils import Grid
from .chain import ChainView
from .mmpretrain import MAPS, MERGED, SWIN
from .registry import Cut, names_of, register_view
from .trace import short_circuit

SIZE = (256, 256)  # image size for measuring stages, divisible by all strides
# MMDetection's Swin returns the output of each stage before and after the merging of patches.
MMDET_SWIN = Cut(MERGED, 'attention', chain=replace(SWIN, call=lambda stage, native: stage(*native[:2])[:2]))
BACKBONES = {f'{package}.{name}': cut for package in ('mmdet', 'mmpretrain') for name, cut in MAPS.items()}
BACKBONES['mmdet.SwinTransformer'] = MMDET_SWIN


@register_view('mmdet.BaseDetector')
class DetectorView(ChainView):
    """View of a detector with one of ``BACKBONES``. Images may have any size."""

    any_size = True
    num_classes = logits_source = classifier = None
    headless, feature_source = False, 'neck'  # the neck takes the maps of all stages

    def __init__(self, model: nn.Module, input_size: Grid | None = None, key: str = 'model') -> None:
        names = names_of(model.backbone)
        cut = next((BACKBONES[name] for name in names if name in BACKBONES), None)
        if cut is None:
            raise ValueError(
                f'{key}.backbone: no stage view for {names[0]} in a detector. Expected ResNet or SwinTransformer of '
                'MMDetection, or a convolutional network of MMPretrain'
            )
        if not getattr(model, 'with_neck', False):
            raise ValueError(f'{key}: this {type(model).__name__} has no neck, whose input is the feature')
        super().__init__(model, input_size or SIZE, key, cut)

    @property
    def feature_dim(self) -> int:
        """Width of the feature."""
        return self.stages[3].channels

    def run(self, images: Tensor) -> Any:
        """Run the backbone and the neck on images."""
        return self.model.extract_feat(images)

    def run_tail(self, native: Any, start: int = 4) -> None:
        """Run stages ``start`` to 4, pooling and head; see :class:`StageView`."""
        with short_circuit({self.model.neck: [lambda: None]}):  # the neck only passes the map to the observer
            self.model.neck(self.run_backbone(native, start))

    def feature_of(self, record: tuple[Tensor, ...], regions: Tensor | None = None) -> Tensor:
        """Return the mean over each region ``(image, left, top, right, bottom)``, or over each image."""
        if regions is None:
            return record[-1].mean(dim=(2, 3))
        from mmcv.ops import roi_align  # compiled, and not always installed

        stride = self.input_size[0] // self.stages[3].grid[0]
        return roi_align(record[-1].float(), regions, 1, 1 / stride, 0, 'avg', True).flatten(1)
