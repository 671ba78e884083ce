"""TAS inside a detector: teacher and student are detectors, and the assistant is built from their backbones.

The student keeps its own losses. The three paths compare features of regions; see ``models/regions/detectors.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.dist import is_distributed
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms.base import LossResults
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..distillers import interface_of
from ..stages import StageView
from ..utils import each_tensor
from .tas import TAS


@MODELS.register_module()
class DetectorTAS(TAS):
    """:class:`TAS` for detectors of MMDetection, for one teacher and without ``teacher_cache``.

    The paths compare features of regions: every whole image, and every true box in it. An image without annotations
    (its pipeline has no ``LoadAnnotations``) gets the boxes that the teacher is sure of, and does not count in the
    student's own losses. Images may have any size. The teacher runs its head only for such images, or if a loss reads
    ``dense_logits``.

    Args:
        *args: Those of :class:`TAS`.
        teacher_score (float): Score from which on a box of the teacher is a region of an image without annotations.
            Defaults to 0.5.
        **kwargs: Those of :class:`TAS`.

    Raises:
        ValueError: If ``teacher_cache`` or several teachers are given, ``teacher_score`` is not between 0 and 1, or as
            for :class:`TAS`.

    Examples:
        >>> from mmengine.config import Config
        >>> student = dict(cfg_path='mmdet::retinanet/retinanet_r18_fpn_1x_coco.py')
        >>> teacher = dict(cfg_path='mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py')
        >>> cfg = Config(dict(model=dict(type='tas_mm.DetectorTAS', architecture=student, teacher=teacher)))
        >>> cfg.model.teacher_ckpt = 'retinanet_swin_t.pth'  # and run it with tools/train.py
    """

    gives_logits = False

    def __init__(self, *args: Any, teacher_score: float = 0.5, **kwargs: Any) -> None:
        if kwargs.get('teacher_cache') is not None:
            raise ValueError('model.teacher_cache keeps features of images, not of regions. Expected None')
        if isinstance(kwargs.get('teacher'), (list, tuple)):
            raise ValueError('model.teacher is a list. Expected one teacher for DetectorTAS')
        if not 0 < teacher_score < 1:
            raise ValueError(f'model.teacher_score={teacher_score}. Expected a number between 0 and 1')
        super().__init__(*args, **kwargs)
        self.teacher_score = teacher_score

    @staticmethod
    def annotated(sample: BaseDataElement) -> bool:
        """Tell whether an image was annotated; an annotated image may have no box."""
        return 'gt_instances' in sample and 'bboxes' in sample.gt_instances

    # ---- the teacher -----------------------------------------------------------------------------------------------

    def _teacher_options(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> dict[str, Any]:
        """Return the regions to compare, and what runs as much of the teacher as they need."""
        return dict(regions=partial(self._regions, inputs, data_samples), run=self._teacher_pass(data_samples))

    def _teacher_pass(self, data_samples: list[BaseDataElement]) -> Callable[[Tensor], Any] | None:
        """Return what runs as much of the teacher as the batch needs; None for backbone and neck alone."""
        network, distiller = self.teacher.network, interface_of(self)
        if not all(map(self.annotated, data_samples)):
            return partial(network.predict, batch_data_samples=without_boxes(data_samples), rescale=False)
        if distiller.teacher_view is None:  # MMRazor's recorders may be anywhere
            return partial(network, data_samples=without_boxes(data_samples), mode='tensor')
        if 'dense_logits' in distiller.teacher_reads:
            return lambda images: network.bbox_head(network.extract_feat(images))
        return None

    def _regions(self, inputs: Tensor, data_samples: list[BaseDataElement], found: Any) -> Tensor:
        """Return each whole image, without its padding, and then its boxes, or those that the teacher is sure of.

        Args:
            inputs (Tensor): Images ``(B, C, H, W)``.
            data_samples (list): Their boxes, in ``gt_instances``.
            found (Any): What the teacher returned: samples with its boxes, if an image has no annotations.

        Returns:
            Tensor: Regions ``(N, 5)``: index of the image, then left, top, right and bottom in pixels.
        """
        regions = []
        for i, sample in enumerate(data_samples):
            if self.annotated(sample):
                boxes = sample.gt_instances.bboxes
            else:
                boxes = found[i].pred_instances.bboxes[found[i].pred_instances.scores >= self.teacher_score]
            height, width = sample.img_shape[:2]
            boxes = torch.cat([inputs.new_tensor([[0, 0, width, height]]), boxes.to(inputs)])
            regions.append(torch.cat([boxes.new_full((len(boxes), 1), i), boxes], dim=1))
        return torch.cat(regions)

    # ---- the student -----------------------------------------------------------------------------------------------

    def _run_student(
        self,
        observe: Callable[..., tuple[Any, Any]],
        view: StageView | None,
        data_samples: list[BaseDataElement],
        labels: None,
    ) -> tuple[Any, LossResults]:
        """Run the student; its own losses see the annotated images alone, and do not run without them."""
        annotated = [i for i, sample in enumerate(data_samples) if self.annotated(sample)]
        if not self.calculate_student_loss or not annotated:
            seen, _ = observe(data_samples=without_boxes(data_samples), mode='tensor')
            if not is_distributed():
                return seen, {}
            idle = sum(p.sum() for p in self.student.parameters() if p.requires_grad)
            return seen, dict(loss_unlabeled=0.0 * idle)  # under DDP every parameter needs a gradient
        if len(annotated) == len(data_samples):
            return observe(data_samples=data_samples, mode='loss')
        # A head whose scores are compared sees all images, and only its losses are of the annotated ones.
        scored = 'dense_logits' in interface_of(self).student_reads
        last = view.dense_source if scored else view.feature_source if view else 'neck'
        with rows_alone(self.student.get_submodule(last), annotated):
            return observe(data_samples=[data_samples[i] for i in annotated], mode='loss')

    def _loss_alone(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> LossResults:
        """Compute the student's own losses, once distillation is stopped; see :class:`TAS`."""
        annotated = [i for i, sample in enumerate(data_samples) if self.annotated(sample)]
        return super()._loss_alone(inputs[annotated], [data_samples[i] for i in annotated])

    def _check_batch(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> None:
        """Check nothing: images may have any size, and the student checks its own labels."""


def without_boxes(data_samples: list[BaseDataElement]) -> list[BaseDataElement]:
    """Return samples that say only what was done to the images."""
    return [type(sample)(metainfo=sample.metainfo) for sample in data_samples]


@contextmanager
def rows_alone(module: nn.Module, rows: list[int]) -> Iterator[None]:
    """Let what follows a module see some images of the batch. Observers, which are hooked on first, see all."""
    hook = module.register_forward_hook(lambda module, inputs, output: each_tensor(lambda maps: maps[rows], output))
    try:
        yield
    finally:
        hook.remove()
