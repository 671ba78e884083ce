"""Detectors of MMDetection: their backbone is cut as a classifier's; what they know of a batch is known of regions.

A classifier knows one pooled feature an image. A detector's images hold many things, so here every region has one: the
output of stage 4, pooled over the region. Regions are the whole images and the boxes in them. There are no logits: a
detector's head reads a pyramid over all stages of one network, and an assistant has the last stage of another alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .base import Knowledge, StagedClassifier, stage_view
from .cnn import CUTS, CNNStages
from .swin import SwinStages
from .tokens import GridTokens

SIZE = (256, 256)
"""Where stages are measured: any size that all strides divide."""


class DetectorStages(StagedClassifier):
    """What views of all detectors share; a subclass adds the cut of its backbone."""

    any_size = True
    num_classes = None
    scorer = ''  # there are no logits
    regions: Tensor | None = None
    """``(N, 5)``: number of the image in the batch, then left, top, right and bottom in pixels. None: whole images."""

    def __init__(self, model: nn.Module, input_size: tuple[int, int] | None = None, key: str = 'model') -> None:
        super().__init__(model, input_size or SIZE, key)
        if not getattr(model, 'with_neck', False):
            raise ValueError(f'{key}: this {type(model).__name__} has no neck, at which its features are read')

    def find_classifier(self) -> str:
        return ''  # there is none

    def declared_size(self) -> None:
        return None

    @property
    def feature_dim(self) -> int:
        return self.stages[3].channels

    @property
    def recorders(self) -> dict[str, dict]:
        """As a classifier's; the feature is what the neck gets."""
        recorders = super().recorders
        stages = {name: cfg for name, cfg in recorders.items() if name.startswith('stage')}
        return dict(stages, feature=dict(type='ModuleInputs', source='neck'))

    def read(self, recorder: str, record: Any) -> Any:
        """Of the feature, which is recorded as the maps of all stages, that of each region ``(N, C)``."""
        return self.pool(record[-1]) if recorder == 'feature' else super().read(recorder, record)

    def shape(self, recorder: str) -> tuple[int, ...]:
        if recorder == 'logits':
            raise ValueError(
                f'{self.key}: a part of a detector has no logits to distil; set model.distiller.logit_loss=None, and '
                'let terms read feature or one of stage1 to stage4'
            )
        return super().shape(recorder)

    def run(self, images: Tensor) -> None:
        self.model.extract_feat(images)

    def pool(self, x: Tensor) -> Tensor:
        """Mean of a map over each region.

        Args:
            x (Tensor): Output of stage 4, ``(B, C, H, W)``.

        Returns:
            Tensor: ``(N, C)``; without regions ``(B, C)``, the mean over each image, its padding included.
        """
        if self.regions is None:
            return x.mean(dim=(2, 3))
        from mmcv.ops import roi_align  # compiled, and not there where nobody detects

        return roi_align(x.float(), self.regions, 1, 1 / self.stride, 0, 'avg', True).flatten(1)

    @property
    def stride(self) -> int:
        """Pixels of an image to a cell of stage 4."""
        return self.input_size[0] // self.stages[3].grid[0]

    def classify(self, native: Any) -> Knowledge:
        """Native output of stage 4 to what is known of the regions."""
        return Knowledge(self.pool(self.finish(native)), None)

    @contextmanager
    def watching(self) -> Iterator[dict[str, Tensor | None]]:
        """Read the feature of what runs within it, from where the recorder reads it."""
        known: dict[str, Tensor | None] = dict(logits=None)
        hook = self.model.neck.register_forward_pre_hook(
            lambda module, inputs: known.update(feature=self.pool(inputs[0][-1]))
        )
        try:
            yield known
        finally:
            hook.remove()


class ConvDetector(DetectorStages, CNNStages):
    """On a backbone that is cut like MMPretrain's of the same name."""


class SwinDetector(DetectorStages, SwinStages):
    """On MMDetection's Swin, whose stages give their output before and after the merging of patches."""

    def run_stage(self, stage: int, x: GridTokens) -> GridTokens:
        return self.net.stages[stage - 1](*x)[:2]

    def to_map(self, native: tuple, stage: int) -> Tensor:
        return super().to_map(native[:2], stage)

    def finish(self, native: tuple) -> Tensor:
        return super().finish(native[:2])


BODIES = {f'{package}.{name}': ConvDetector for package in ('mmdet', 'mmpretrain') for name in CUTS} | {
    'mmdet.SwinTransformer': SwinDetector
}
"""Backbone of a detector, by package and class -> view."""


@stage_view('mmdet.BaseDetector')
def detector_view(model: nn.Module, input_size: tuple[int, int] | None, key: str) -> DetectorStages:
    """The view of a detector, by its backbone.

    Raises:
        ValueError: If there is none.
    """
    names = [f'{cls.__module__.split(".")[0]}.{cls.__name__}' for cls in type(model.backbone).__mro__]
    view: Callable | None = next((BODIES[name] for name in names if name in BODIES), None)
    if view is None:
        raise ValueError(
            f"{key}.backbone: no stage view for {names[0]} in a detector; valid are MMDetection's ResNet and "
            'SwinTransformer, and convolutional networks of MMPretrain'
        )
    return view(model, input_size, key)
