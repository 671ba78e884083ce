"""View of MMDetection's detectors: the backbone is cut like a classifier's, and features belong to regions.

Regions are the whole images and the boxes in them. A feature is the output of stage 4, pooled over a region. There are
no logits of regions: a detector's head reads all stages of one network, but the assistant has the last stage of
another. Maps of two pyramids, and the class scores of two one-stage detectors, can be compared place by place, without
an assistant.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..observer import outputs_of
from ..stages.chain import Chain, ChainView
from ..stages.mmpretrain import MAPS, MERGED, SWIN, TABLE
from ..stages.registry import Cut, names_of, register_view
from ..stages.trace import short_circuit
from ..utils import Grid

SIZE = (256, 256)  # image size for measuring stages, divisible by all strides
# MMDetection's Swin returns the output of each stage before and after the merging of patches.
MMDET_SWIN = Cut(MERGED, 'attention', chain=replace(SWIN, call=lambda stage, native: stage(*native[:2])[:2]))
CSP = Cut('stage1 | stage2 | stage3 | stage4', 'cnn', chain=Chain())
BACKBONES: dict[str, Cut] = {
    f'{package}.{name}': cut for package in ('mmdet', 'mmpretrain') for name, cut in MAPS.items()
}
BACKBONES |= {f'mmpretrain.{name}': TABLE[name] for name in ('ConvNeXt', 'SwinTransformer')}
BACKBONES |= {'mmdet.SwinTransformer': MMDET_SWIN, 'mmdet.CSPNeXt': CSP, 'mmdet.CSPDarknet': CSP}


@register_view('mmdet.BaseDetector')
class DetectorView(ChainView):
    """View of a detector with one of ``BACKBONES``. Images may have any size."""

    any_size = True
    num_classes = logits_source = classifier = None
    headless, feature_source = False, 'neck'  # the neck takes the maps of all stages
    pyramid_source: str | None = 'neck'
    kind, cuts = 'detector', BACKBONES
    backbones = 'ResNet, SwinTransformer, CSPNeXt or CSPDarknet of MMDetection'

    def __init__(self, model: nn.Module, input_size: Grid | None = None, key: str = 'model') -> None:
        names = names_of(model.backbone)
        cut = next((self.cuts[name] for name in names if name in self.cuts), None)
        if cut is None:
            raise ValueError(
                f'{key}.backbone: no stage view for {names[0]} in a {self.kind}. Expected {self.backbones}, or '
                'SwinTransformer, ConvNeXt or another convolutional network of MMPretrain'
            )
        if self.feature_source == 'neck' and not getattr(model, 'with_neck', False):
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

    # ---- the pyramid -----------------------------------------------------------------------------------------------

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:  # type: ignore[override]
        """Shapes ``(C, H, W)`` of the pyramid's levels at ``input_size``, from the finest."""
        if self.pyramid_source is None:
            return ()
        with outputs_of(self.model, [self.pyramid_source]) as seen:
            self.look()
        return tuple(tuple(x.shape[1:]) for x in seen[self.pyramid_source])

    # ---- class scores by location ----------------------------------------------------------------------------------

    @property
    def dense_source(self) -> str | None:  # type: ignore[override]
        """Name of the head, if it scores every location and prior by a sigmoid for each class."""
        head = getattr(self.model, 'bbox_head', None)
        dense = hasattr(head, 'prior_generator') and getattr(head, 'use_sigmoid_cls', False)
        return 'bbox_head' if dense else None

    def dense_shape(self) -> tuple[int, ...]:
        """Return the shape of a row of the class scores by location."""
        return (self.model.bbox_head.cls_out_channels,)

    def dense_form(self) -> str:
        """Describe what two heads need to have in common: classes, priors and strides."""
        head = self.model.bbox_head
        priors = head.prior_generator
        strides = ', '.join(str(stride[0]) for stride in priors.strides)
        return f'{head.cls_out_channels} classes and {priors.num_base_priors[0]} priors at strides {strides}'

    def dense_logits_of(self, record: Any) -> Tensor:
        """Return the class scores by location, ``(N, K)``, in what the head returned."""
        count = self.model.bbox_head.cls_out_channels
        levels = [x.permute(0, 2, 3, 1).reshape(len(x), -1, count) for x in record[0]]  # BxNxK
        return torch.cat(levels, dim=1).flatten(0, 1)
