"""TAS inside a detector: teacher and student detect, the assistant is made of their backbones.

The student keeps its own losses. The three paths compare features of regions: see ``models/stages/detectors.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms.base import LossResults
from torch import Tensor

from tas_mm.registry import MODELS

from .tas import TAS


@MODELS.register_module()
class DetectorTAS(TAS):
    """:class:`TAS` for detectors of MMDetection, with the same arguments but ``teacher_cache``, and for one teacher.

    The distiller takes losses between features alone: ``dict(type='tas_mm.TASDistiller', logit_loss=None)``. Images may
    be of any size. Of the teacher backbone and neck run, and nothing else.
    """

    gives_logits = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get('teacher_cache') is not None:
            raise ValueError('model.teacher_cache keeps features of images, not of regions: valid here is None')
        if isinstance(kwargs.get('teacher'), (list, tuple)):
            raise ValueError('model.teacher is a list, but valid for DetectorTAS is one teacher')
        super().__init__(*args, **kwargs)

    def loss(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> LossResults:
        """Losses of a batch.

        Args:
            inputs (Tensor): Images as the student's preprocessor gives them, ``(B, C, H, W)``.
            data_samples (list): Their boxes.

        Returns:
            dict: ``student.*``, the detector's own, and ``distill.*``, one for each path.
        """
        views = getattr(self.distiller, 'views', ())  # a distiller of MMRazor's has none
        for view in views:
            view.regions = regions_of(inputs, data_samples)
        try:
            return super().loss(inputs, data_samples)
        finally:
            for view in views:
                view.regions = None

    def _teacher_pass(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return self.teacher.extract_feat(inputs)

    def _check_batch(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> None:
        """Images of any size will do, and labels are the student's own affair."""


def regions_of(inputs: Tensor, data_samples: list[BaseDataElement]) -> Tensor:
    """The regions of a batch: each whole image, without its padding, and then its boxes.

    Args:
        inputs (Tensor): Images ``(B, C, H, W)``.
        data_samples (list): Their boxes, in ``gt_instances``.

    Returns:
        Tensor: ``(N, 5)``: number of the image, then left, top, right and bottom in pixels.
    """
    regions = []
    for i, sample in enumerate(data_samples):
        height, width = sample.img_shape[:2]
        boxes = torch.cat([inputs.new_tensor([[0, 0, width, height]]), sample.gt_instances.bboxes.to(inputs)])
        regions.append(torch.cat([boxes.new_full((len(boxes), 1), i), boxes], dim=1))
    return torch.cat(regions)
