"""Convolutional networks: modules that run one after another on maps, so that a list of their names is the whole cut.

Stages have strides 4, 8, 16 and 32 where the network allows; the stem belongs to the first. A separate module that
shrinks the map between two stages belongs to the end of the first of them, as its output is what the second takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from .base import StagedClassifier, stage_view
from .tokens import cut_blocks

Cut = list[list[str]]


def numbered(name: str, count: int) -> list[str]:
    """``name.0``, ``name.1``, ..."""
    return [f'{name}.{i}' for i in range(count)]


def last_four(names: Sequence[str]) -> Cut:
    """Where a network has more than four stages, the first ones make one."""
    return [list(names[:-3]), *([name] for name in names[-3:])]


def at_halvings(net: nn.Module, names: Sequence[str]) -> Cut:
    """Cut a list of modules before each of the last three that halve the map."""

    def halves(name: str) -> bool:
        layers = (m for m in net.get_submodule(name).modules() if isinstance(m, (nn.Conv2d, nn.MaxPool2d)))
        return any(layer.stride in (2, (2, 2)) for layer in layers)

    starts = [i for i, name in enumerate(names) if halves(name)][-3:]
    ends = [0, *starts, len(names)]
    return [list(names[a:b]) for a, b in zip(ends, ends[1:])]


def vgg(net: nn.Module) -> Cut:
    """Its convolutions, each stage with the pooling at its end; the first two are one."""
    first, *stages = [[f'features.{i}' for i in range(*ends)] for ends in net.range_sub_modules]
    return [first + stages[0], *stages[1:]] if len(stages) == 4 else [first, *stages]


class ChainStages(StagedClassifier):
    """View of networks for which a table of cuts is enough."""

    family = 'cnn'

    cuts: ClassVar[dict[str, str | Callable[[nn.Module], Cut]]]
    """Class of the network -> names of its modules, stages being parted by ``|``; or a function of the network."""

    def cut(self) -> Cut:
        cut = next(self.cuts[cls.__name__] for cls in type(self.net).__mro__ if cls.__name__ in self.cuts)
        return cut(self.net) if callable(cut) else [stage.split() for stage in cut.split('|')]


CUTS = dict(
    AlexNet=lambda net: [[f'features.{i}' for i in r] for r in (range(3), range(3, 6), range(6, 10), range(10, 13))],
    ConvMixer=lambda net: [[f'stages.{i}' for i in blocks] for blocks in cut_blocks(net.depth)],
    CSPNet=lambda net: last_four(numbered('stages', net.num_stages)),
    DenseNet='stages.0 transitions.0 | stages.1 transitions.1 | stages.2 transitions.2 | stages.3 transitions.3',
    EfficientNet=lambda net: at_halvings(net, numbered('layers', len(net.layers))),
    EfficientNetV2=lambda net: at_halvings(net, numbered('layers', len(net.layers))),
    MobileNetV2='layer1 layer2 | layer3 | layer4 layer5 | layer6 layer7 conv2',
    MobileNetV3=lambda net: at_halvings(net, net.layers),
    MobileOne=lambda net: last_four(net.stages),
    RepVGG=lambda net: [[stage] for stage in net.stages[:-1]] + [[net.stages[-1], 'ppf']],
    ResNet=lambda net: [[layer] for layer in net.res_layers],
    ShuffleNetV1='conv1 maxpool | layers.0 | layers.1 | layers.2',
    ShuffleNetV2='conv1 maxpool | layers.0 | layers.1 | layers.2 layers.3',
)


@stage_view(*(f'mmpretrain.{name}' for name in CUTS))
class CNNStages(ChainStages):
    """What a backbone returns for its last out index is the output of stage 4."""

    cuts = CUTS


@stage_view('mmpretrain.VGG')
class VGGStages(ChainStages):
    """Has its classifier in the backbone if that was given ``num_classes``, and then a head without layers."""

    cuts = dict(VGG=vgg)

    def find_classifier(self) -> str:
        return self._linear_layers('backbone.classifier')[-1] if self.net.num_classes > 0 else super().find_classifier()

    def finish(self, native: Tensor) -> Tensor:
        return self.net.classifier(native.flatten(1)) if self.net.num_classes > 0 else native


@stage_view('mmpretrain.InceptionV3')
class InceptionV3Stages(ChainStages):
    """Has its classifier in the backbone; the auxiliary one, if any, belongs to no stage."""

    cuts = dict(
        InceptionV3='Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1'
        '| Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 Mixed_5b Mixed_5c Mixed_5d'
        '| Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e | Mixed_7a Mixed_7b Mixed_7c'
    )

    def find_classifier(self) -> str:
        return 'backbone.fc'

    def finish(self, native: Tensor) -> Tensor:
        return self.net.fc(self.net.dropout(self.net.avgpool(native)).flatten(1))


DOWN_FIRST = ' | '.join(['stages.0', *(f'downsample_layers.{i} stages.{i}' for i in (1, 2, 3))])
"""Cut of the networks of ConvNeXt's layout, where a downsampling layer comes before each stage."""


@stage_view('mmpretrain.ConvNeXt')
class ConvNeXtStages(ChainStages):
    """ConvNeXt and ConvNeXt V2."""

    cuts = dict(ConvNeXt=DOWN_FIRST, HorNet=DOWN_FIRST)

    def finish(self, native: Tensor) -> Tensor:
        if self.net.gap_before_final_norm:
            return self.net.norm3(native.mean([-2, -1], keepdim=True)).flatten(1)
        return self.net.norm3(native)


@stage_view('mmpretrain.HorNet')
class HorNetStages(ConvNeXtStages):
    """Gated convolutions; the archs named ``-gf`` have filters over the whole map instead in stages 3 and 4."""

    @property
    def family(self) -> str:
        """'cnn', or 'mlp' with filters over the whole map, whose weights are fixed."""
        return 'mlp' if self.net.arch_settings['dw_cfg'][3]['type'] == 'GF' else 'cnn'


@stage_view('mmpretrain.RepLKNet')
class RepLKNetStages(ChainStages):
    """Transitions end stages 1 to 3; each stage has the norm for its own output."""

    cuts = dict(RepLKNet='stages.0 transitions.0 | stages.1 transitions.1 | stages.2 transitions.2 | stages.3')

    def finish(self, native: Tensor) -> Tensor:
        return self.net.stages[3].norm(native)


@stage_view('mmpretrain.PoolFormer', 'mmpretrain.RIFormer')
class PoolFormerStages(ChainStages):
    """Their token mixer is a 3x3 average pooling, or nothing, so they are as local as a CNN."""

    cuts = dict.fromkeys(
        ('PoolFormer', 'RIFormer'), 'network.0 network.1 | network.2 network.3 | network.4 network.5 | network.6'
    )

    def finish(self, native: Tensor) -> Tensor:
        return self.net.norm6(native)


@stage_view('mmpretrain.LeNet5', 'mmpretrain.SparseResNet', 'mmpretrain.SparseConvNeXt')
class RefusedStages(ChainStages):
    """What is no classifier of four stages."""

    reasons = dict(
        LeNet5='has three convolutions only',
        SparseResNet='is for masked pre-training; load its weights into a ResNet',
        SparseConvNeXt='is for masked pre-training; load its weights into a ConvNeXt',
    )

    def cut(self) -> Cut:
        name = type(self.net).__name__
        raise ValueError(f'{self.key}.backbone: {name} {self.reasons[name]}, so it cannot be cut into four stages')
