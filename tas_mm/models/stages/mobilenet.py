"""MobileNetV2."""

from __future__ import annotations

from .base import StagedClassifier, stage_view


@stage_view('mmpretrain.MobileNetV2')
class MobileNetV2Stages(StagedClassifier):
    """Its seven groups of blocks, cut where the resolution halves: strides 4, 8, 16 and 32."""

    family = 'cnn'

    def cut(self) -> list[list[str]]:
        return [['layer1', 'layer2'], ['layer3'], ['layer4', 'layer5'], ['layer6', 'layer7', 'conv2']]
