"""TAS inside a detector: teacher and student are detectors, and the assistant is built from their backbones.

The student keeps its own losses. The three paths compare features of regions; see ``models/stages/detectors.py``.
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

    The distiller may only have losses between features: ``dict(type='tas_mm.TASDistiller', logit_loss=None)``. Images
    may have any size. Only the teacher's backbone and neck run.
    """

    gives_logits = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get('teacher_cache') is not None:
            raise ValueError('model.teacher_cache keeps features of images, not of regions. Expected None')
        if isinstance(kwargs.get('teacher'), (list, tuple)):
            raise ValueError('model.teacher is a list. Expected one teacher for DetectorTAS')
        super().__init__(*args, **kwargs)

    def _regions(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> Tensor | None:
        """Return the regions to compare: each whole image, without its padding, followed by its boxes.

        Args:
            inputs (Tensor): Images ``(B, C, H, W)``.
            data_samples (list): Data samples with boxes in ``gt_instances``.

        Returns:
            Tensor: Regions ``(N, 5)``: index of the image, then left, top, right and bottom in pixels.
        """
        regions = []
        for i, sample in enumerate(data_samples):
            height, width = sample.img_shape[:2]
            boxes = torch.cat([inputs.new_tensor([[0, 0, width, height]]), sample.gt_instances.bboxes.to(inputs)])
            regions.append(torch.cat([boxes.new_full((len(boxes), 1), i), boxes], dim=1))
        return torch.cat(regions)

    def _check_batch(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> None:
        """Check nothing: images may have any size, and the student checks its own labels."""
