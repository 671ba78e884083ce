"""ResNet and its kin, with the ImageNet stem or the CIFAR one."""

from __future__ import annotations

from .base import StagedClassifier, stage_view


@stage_view('mmpretrain.ResNet')
class ResNetStages(StagedClassifier):
    """``layer1`` to ``layer4`` are the four stages; the stem belongs to the first."""

    family = 'cnn'

    def cut(self) -> list[list[str]]:
        layers = self.net.res_layers
        if len(layers) != 4:
            raise ValueError(f'{self.key}.backbone.num_stages={len(layers)}, but 4 are needed')
        return [[layer] for layer in layers]
