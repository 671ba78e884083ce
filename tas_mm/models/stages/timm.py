"""Views of timm's networks. ``feature_info`` says which modules end their levels; tables hold the exceptions."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..utils import Grid
from .registry import cut_blocks, register_view
from .traced import TracedView, last_module, lists_of
from .view import image_channels

# The patch merging, first in a level, belongs to the previous one, as in MMPretrain's Swin and in the paper.
SWIN = ['layers.1.downsample', 'layers.2.downsample', 'layers.3.downsample', 'layers.3']

ENDS = {
    'CoaT': lambda net: [f'parallel_blocks.{i}' for i in range(len(net.parallel_blocks or ()))],
    'Gemma4VitClassifier': lambda net: [f'encoder.blocks.{i}' for i in range(len(net.encoder.blocks))],
    'HighResolutionNet': lambda net: ['layer1', 'stage2', 'stage3', 'stage4'],
    'MultiScaleVit': lambda net: [f'stages.{i}' for i in range(len(net.stages))],
    'SwinTransformer': lambda net: SWIN,
    'SwinTransformerV2': lambda net: SWIN,
    'Twins': lambda net: [f'blocks.{i}' for i in range(len(net.blocks))],
    'Xception': lambda net: ['block1', 'block2', 'block11', 'act4'],
    # Taps inside of a block are moved to the end of the previous block.
    'XceptionAligned': lambda net: [
        re.sub(r'(\d+)\.s.*', lambda m: str(int(m[1]) - 1), i['module']) for i in net.feature_info[1:]
    ],
}
"""Modules that end the levels, for networks whose ``feature_info`` names others or none."""

REFUSED = {
    'CrossVit': 'it has three blocks only, each of two branches',
    **dict.fromkeys(('NASNetALarge', 'PNASNet5Large'), 'each of its cells reads the outputs of the two cells before'),
}

FAMILY = {
    'EfficientViM': 'attention',  # state-space mixing over all positions
    'FocalNet': 'cnn',  # modulation by convolutions
    'Sequencer2d': 'mlp',  # recurrent mixing over all positions
}
"""Families that cannot be inferred from the names of the modules."""

CHAINS = ('MlpMixer', 'VisionTransformer')
"""Networks of equal blocks, then ``norm`` and ``forward_head``: the fast path. MlpMixer is ResMLP's class too."""


def declared_channels(net: nn.Module) -> int:
    """Return the channels of the images, for a network whose first convolution may take rearranged pixels."""
    first = image_channels(net)
    return getattr(net, 'in_chans', None) or (first if first <= 4 else 3)


class TimmView(TracedView):
    """Base of the views of timm's networks."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.in_channels = declared_channels(self.net)
        self.prefix = getattr(self.net, 'num_prefix_tokens', 0)
        self.channels_last = str(getattr(self.net, 'output_fmt', '')).endswith('NHWC')

    def cut(self) -> list[list[str]]:
        """Return four lists of module names, relative to the network."""
        name = type(self.net).__name__
        if re.match('Feature.*Net', name):  # by name, since timm is optional
            raise ValueError(
                f'{self.key}.backbone.features_only=True takes the network apart. Remove it, or set it to False'
            )
        if name in REFUSED:
            raise ValueError(f'{self.key}: timm {name} cannot be cut into 4 stages: {REFUSED[name]}')
        levels = self._levels()
        if len(levels) == 3:
            levels = self._split_longest(levels)
        return [[levels[i] for i in blocks] for blocks in cut_blocks(len(levels))]

    def _levels(self) -> list[str]:
        """Return the modules that end the levels: one for each stride of a pyramid, else one for each block."""
        chosen = ENDS.get(type(self.net).__name__, lambda net: [])(self.net)
        modules, infos = dict(self.net.named_modules()), getattr(self.net, 'feature_info', None) or []
        taps = {info['module']: info['reduction'] for info in infos if info['module']}
        # A tap that is not a module is a stem. Pooling does not end a stage: the next stage starts with it.
        taps = {tap: s for tap, s in taps.items() if not isinstance(modules.get(tap), (type(None), nn.MaxPool2d))}
        if not chosen and not taps:
            raise ValueError(
                f'{self.key}: timm {type(self.net).__name__} has no feature_info that says where its levels end. '
                'docs/own_backbone.md shows how to register a cut'
            )
        by_stride = {stride: tap for tap, stride in taps.items()}
        if not chosen and (len(by_stride) >= 4 or (len(by_stride) > 1 and len(taps) != 4)):
            pyramid = {4, 8, 16, 32} <= set(by_stride)
            chosen = [by_stride[s] for s in (4, 8, 16, 32)] if pyramid else list(by_stride.values())[-4:]
        return [last_module(self.net, name) for name in chosen or taps]

    def _split_longest(self, levels: list[str]) -> list[str]:
        """Cut the level with the most blocks in two, if any has blocks."""
        lists = lists_of(self.net)

        def blocks_of(level: str) -> list[str]:
            names = (f'{level}.blocks', f'{level}.transformer_encoder', level.rpartition('.')[0])
            name = next((name for name in names if name in lists), None)
            return [f'{name}.{child}' for child, _ in lists[name].named_children()] if name else []

        blocks = [blocks_of(level) for level in levels]
        longest = max(range(len(levels)), key=lambda i: len(blocks[i]))
        half = blocks[longest][: len(blocks[longest]) // 2][-1:]
        return [*levels[:longest], *half, *levels[longest:]]

    @cached_property
    def family(self) -> str:
        """How the stages mix positions: one of ``FAMILIES``."""
        return FAMILY.get(type(self.net).__name__) or super().family

    def declared_size(self) -> Grid | None:
        """Return the image size that the network was built for, or None if it takes any."""
        config, embed = getattr(self.net, 'pretrained_cfg', None) or {}, getattr(self.net, 'patch_embed', None)
        if getattr(embed, 'strict_img_size', False) and getattr(embed, 'img_size', None):
            return tuple(embed.img_size)
        size = getattr(self.net, 'img_size', None)
        if isinstance(size, (tuple, list)) and len(size) == 2:
            return tuple(size)
        return tuple(config['input_size'][-2:]) if config.get('fixed_input_size') else None

    def to_map(self, native: Any, stage: int) -> Tensor:
        """Convert the native output of a stage to a map; see :class:`StageView`."""
        order = self._order(stage)
        return super().to_map(native if order is None else native[:, order], stage)

    def from_map(self, x: Tensor, stage: int, class_token: str = 'own') -> Any:
        """Convert a map to a stage's native form; see :class:`StageView`."""
        native, order = super().from_map(x, stage, class_token), self._order(stage)
        return native if order is None else native[:, order.argsort()]

    def _order(self, stage: int) -> Tensor | None:
        """Return the position of each row-major token in a network that keeps a window's tokens together (Hiera)."""
        reroll = getattr(self.net, 'reroll', None)
        if reroll is None:
            return None
        height, width = self.layouts[stage - 1].grid
        tokens = torch.arange(height * width, device=next(self.net.parameters()).device)
        return reroll(tokens.view(1, -1, 1), int(self.modules[stage - 1][-1].rpartition('.')[2])).flatten()


@register_view('mmpretrain.TIMMBackbone')
class TimmBackboneView(TimmView):
    """View of a timm network as the backbone of an ``ImageClassifier``, with MMPretrain's neck and head."""

    net_name = 'backbone.timm_model'


@register_view('mmpretrain.TimmClassifier')
class TimmClassifierView(TimmView):
    """View of a timm network with its own head. Of two heads, it takes the mean logits and the first head's feature."""

    net_name = 'model'

    def find_classifier(self) -> str | None:
        """Return the dotted name of the linear layer whose input is the feature, or None."""
        found = self.net.get_classifier() if hasattr(self.net, 'get_classifier') else None
        head = found[0] if isinstance(found, (tuple, list, nn.ModuleList)) else found
        if head is None or isinstance(head, nn.Identity):
            return None
        # If the classifier has its own norm or pooling, the feature is the input of its linear layer.
        layers = [m for n, m in head.named_modules() if 'dist' not in n and isinstance(m, (nn.Linear, nn.Conv2d))]
        return next(name for name, module in self.model.named_modules() if module is (layers or [head])[-1])

    def find_output(self) -> str:
        """Return the norm before the pooling if tokens or a map are wanted, else the network."""
        pooled = self.feature_kind in (None, 'output') or getattr(self.net, 'norm', None) is None
        return self.net_name if pooled else f'{self.net_name}.norm'

    def feature_of(self, record: Any, regions: Tensor | None = None) -> Tensor:
        """Return the feature ``(B, C)`` from the output of its source."""
        feature, norm = super().feature_of(record, regions), getattr(self.net, 'fc_norm', None)
        return norm(feature) if norm is not None and self.feature_source.endswith('.norm') else feature

    def count_classes(self) -> int:
        """Return the network's own number of classes, or None if it is not known."""
        return self.net.num_classes

    def find_logits(self) -> str:
        """Return the dotted name of the module whose output is the logits."""
        return self.classifier if type(self.net).__name__ in CHAINS else self.net_name

    def run_tail(self, native: Any, start: int = 4) -> None:
        """Run stages ``start`` to 4, pooling and head; see :class:`StageView`."""
        if type(self.net).__name__ not in CHAINS or getattr(self.net, 'grad_checkpointing', False):
            super().run_tail(native, start)
            return
        for name in sum(self.modules[start - 1 :], ()):
            native = self.net.get_submodule(name)(native)
        output = self.net.forward_head(self.net.norm(native))
        if self.headless:
            self.show(output, native)
