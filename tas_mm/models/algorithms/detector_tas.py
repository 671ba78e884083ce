"""TAS inside a detector: teacher and student detect, the assistant is made of their backbones.

The student keeps its own losses. The three paths compare features of regions: see ``models/stages/detectors.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from tas_mm.registry import MODELS

from .tas import TAS


@MODELS.register_module()
class DetectorTAS(TAS):
    """:class:`TAS` for detectors of MMDetection, for one teacher and without ``teacher_cache``.

    The distiller takes losses between features alone: ``dict(type='tas_mm.TASDistiller', logit_loss=None)``. Images may
    have any size. The teacher runs its backbone and neck only.
    """

    gives_logits = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get('teacher_cache') is not None:
            raise ValueError('model.teacher_cache keeps features of images, not of regions: valid here is None')
        if isinstance(kwargs.get('teacher'), (list, tuple)):
            raise ValueError('model.teacher is a list, but valid for DetectorTAS is one teacher')
        super().__init__(*args, **kwargs)

    def _regions(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> Tensor | None:
        """Return each whole image, without its padding, and then its boxes.

        Args:
            inputs (Tensor): Images ``(B, C, H, W)``.
            data_samples (list): Their boxes, in ``gt_instances``.

        Returns:
            Tensor: ``(N, 5)``: index of the image, then left, top, right and bottom in pixels.
        """
        regions = []
        for i, sample in enumerate(data_samples):
            height, width = sample.img_shape[:2]
            boxes = torch.cat([inputs.new_tensor([[0, 0, width, height]]), sample.gt_instances.bboxes.to(inputs)])
            regions.append(torch.cat([boxes.new_full((len(boxes), 1), i), boxes], dim=1))
        return torch.cat(regions)

    def _check_batch(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> None:
        """Accept images of any size; labels are the student's own affair."""
