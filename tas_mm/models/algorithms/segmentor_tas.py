"""TAS inside a segmentor: teacher and student segment, the assistant is made of their backbones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from tas_mm.registry import MODELS

from .detector_tas import DetectorTAS

CELLS = 4
"""Regions along each side of an image."""


@MODELS.register_module()
class SegmentorTAS(DetectorTAS):
    """:class:`TAS` for segmentors of MMSegmentation, for one teacher and without ``teacher_cache``.

    The paths compare features of regions: every whole image, and each of 16 equal cells of it. The teacher runs its
    backbone and neck only. An image without annotations (its pipeline has no ``LoadAnnotations``) counts on the paths,
    and not in the student's own losses.

    Args:
        *args: Those of :class:`TAS`.
        **kwargs: Those of :class:`TAS`.

    Examples:
        >>> from mmengine.config import Config
        >>> student = dict(cfg_path='mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py')
        >>> cfg = Config(dict(model=dict(type='tas_mm.SegmentorTAS', architecture=student)))
        >>> cfg.model.update(teacher='my_teacher.py', teacher_ckpt='my_teacher.pth')  # for tools/train.py
    """

    @staticmethod
    def annotated(sample: BaseDataElement) -> bool:
        """Tell whether an image has a segmentation map."""
        return 'gt_sem_seg' in sample

    def _teacher_pass(self, data_samples: list[BaseDataElement]) -> Callable[[Tensor], Any] | None:
        """Leave out the teacher's head, which no path reads."""
        return None

    def _regions(self, inputs: Tensor, data_samples: list[BaseDataElement], found: Any) -> Tensor:
        """Return each whole image, without its padding, and then its cells; see :class:`DetectorTAS`."""
        steps = torch.arange(CELLS, device=inputs.device, dtype=inputs.dtype) / CELLS
        top, left = (x.flatten() for x in torch.meshgrid(steps, steps, indexing='ij'))
        cells = torch.stack([left, top, left + 1 / CELLS, top + 1 / CELLS], dim=1)
        cells = torch.cat([cells.new_tensor([[0, 0, 1, 1]]), cells])
        regions = []
        for i, sample in enumerate(data_samples):
            height, width = sample.img_shape[:2]
            boxes = cells * cells.new_tensor([width, height, width, height])
            regions.append(torch.cat([boxes.new_full((len(boxes), 1), i), boxes], dim=1))
        return torch.cat(regions)
