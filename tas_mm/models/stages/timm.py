"""One view for all of timm, built on timm's own conventions.

``feature_info`` says which modules end the levels of a network, its own forward runs what follows a cut
(``.replay``), and shapes say how features lie in memory (``.native``). What is special about single families
stands in the tables below.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .base import Knowledge, Stage, StagedClassifier, stage_view
from .native import Layout, class_tokens
from .replay import Trace, tensors
from .tokens import cut_blocks

STRIDES = (4, 8, 16, 32)


def swin(net: nn.Module) -> list[str]:
    """The patch merging, first in a level, ends the one before: as in MMPretrain's Swin, and in the paper's."""
    return [*(f'layers.{i}.downsample' for i in (1, 2, 3)), 'layers.3']


ENDS = {
    'CoaT': lambda net: [f'parallel_blocks.{i}' for i in range(len(net.parallel_blocks or ()))],
    'SwinTransformer': swin,
    'SwinTransformerV2': swin,
    'HighResolutionNet': lambda net: ['layer1', 'stage2', 'stage3', 'stage4'],
}
"""Modules that end the levels, for networks whose ``feature_info`` names none where a cut is possible."""

REFUSED = {
    'CrossVit': 'it has three blocks only, each of two branches',
    'NASNetALarge': 'each of its cells reads the outputs of the two cells before',
    'PNASNet5Large': 'each of its cells reads the outputs of the two cells before',
}

ATTENTION = re.compile('attention|attn|mhsa|mhca|shsa|shma|xca|mla$|msa$', re.IGNORECASE)
NOT_ATTENTION = re.compile(
    '(Light|Simple)?(Spatial|Channel|Coord)Attn|(SelectiveKernel|Split|EfficientLocal|Strip)Attn'
)
TOKEN_MLP = re.compile('MixerBlock|ResBlock|SpatialGating')
FAMILY = {
    'EfficientViM': 'attention',  # state-space mixing over all positions
    'FocalNet': 'cnn',  # modulation by convolutions
    'Sequencer2d': 'mlp',  # recurrent mixing over all positions
}
"""Families that the names of the modules do not tell."""


class TimmStages(StagedClassifier):
    """A timm network, alone (``TimmClassifier``) or as a backbone (``TIMMBackbone``)."""

    library = 'timm'

    # ---- the cut ---------------------------------------------------------------------------------------------------

    def cut(self) -> list[list[str]]:
        name = type(self.net).__name__
        if name in REFUSED:
            raise ValueError(f'{self.key}: timm {name} cannot be cut into 4 stages: {REFUSED[name]}')
        levels = self._levels()
        if len(levels) < 4:
            levels = self._split_longest(levels)
        groups = cut_blocks(len(levels)) if len(levels) > 4 else [[i] for i in range(4)]
        return [[levels[i] for i in group] for group in groups]

    def _levels(self) -> list[str]:
        """Names of the modules that end the levels: one for each stride of a pyramid, else one for each block."""
        ends = ENDS.get(type(self.net).__name__, lambda net: [])(self.net)
        if ends:
            return [self._last(end) for end in ends]
        names: dict[str, int] = {}
        for info in getattr(self.net, 'feature_info', None) or []:
            try:
                names[self._whole(self._existing(info['module']))] = info['reduction']
            except AttributeError:
                continue  # a stem that is no module
        if not names:
            raise ValueError(
                f'{self.key}: timm {type(self.net).__name__} has no feature_info that says where its levels end; '
                'docs/own_backbone.md shows how to write a view'
            )
        by_stride: dict[int, str] = {}
        for name, stride in names.items():
            by_stride[stride] = name
        if len(by_stride) >= 4 or (len(by_stride) > 1 and len(names) != 4):
            chosen = (
                [by_stride[s] for s in STRIDES] if set(STRIDES) <= set(by_stride) else list(by_stride.values())[-4:]
            )
            return [self._last(name) for name in chosen]
        return [self._last(name) for name in names]

    def _existing(self, name: str) -> str:
        """A name in ``feature_info``, or, where that is out of date, the same in the encoder or the list of stages."""
        number = name.partition('.')[2]
        for candidate in (name, f'encoder.{name}', f'stages.{number}', f'blocks.{number}'):
            if name and (name == candidate or number):
                try:
                    self.net.get_submodule(candidate)
                except AttributeError:
                    continue
                return candidate
        raise AttributeError(name)

    def _whole(self, name: str) -> str:
        """A tap inside a block moved to the end of the block before: half a block is no stage."""
        parts = name.split('.')
        for i in range(1, len(parts)):
            parent = self.net.get_submodule('.'.join(parts[:i]))
            if isinstance(parent, (nn.Sequential, nn.ModuleList)):
                continue
            container, block = '.'.join(parts[: i - 1]), parts[i - 1]
            siblings = [child for child, _ in self.net.get_submodule(container).named_children()]
            if block.isdigit() or block[-1].isdigit():
                before = siblings[max(0, siblings.index(block) - 1)]
                return '.'.join(filter(None, (container, before)))
            return name
        if isinstance(self.net.get_submodule(name), nn.MaxPool2d):
            raise AttributeError(name)  # it ends no stage: the next one starts with it
        return name

    def _last(self, name: str) -> str:
        """The module in it that runs last; a list never runs as a whole, a sequence not always."""
        module = self.net.get_submodule(name)
        while type(module) in (nn.Sequential, nn.ModuleList) and len(module):
            child, module = list(module.named_children())[-1]
            name = f'{name}.{child}'
        return name

    def _split_longest(self, levels: list[str]) -> list[str]:
        """Cut the levels with the most blocks in two until there are four."""
        while len(levels) < 4:
            blocks = [self._blocks(level, {*levels} - {level}) for level in levels]
            longest = max(range(len(levels)), key=lambda i: len(blocks[i]))
            if len(blocks[longest]) < 2:
                raise ValueError(
                    f'{self.key}: timm {type(self.net).__name__} has {len(levels)} stages, and none of them has blocks '
                    'that could be cut in two'
                )
            levels = [*levels[:longest], blocks[longest][len(blocks[longest]) // 2 - 1], *levels[longest:]]
        return levels

    def _blocks(self, level: str, others: set[str]) -> list[str]:
        """Names of the blocks in the list that ends with a level, or that the level holds."""
        lists = [name for name, m in self.net.named_modules() if type(m) in (nn.Sequential, nn.ModuleList)]
        inside = [name for name in lists if name.startswith(f'{level}.')]
        shallowest = min((name.count('.') for name in inside), default=0)
        found = [name for name in lists if name == level.rpartition('.')[0]]
        found += sorted(
            (name for name in inside if name.count('.') == shallowest), key=lambda name: not name.endswith('blocks')
        )
        for name in found:
            children = [f'{name}.{child}' for child, _ in self.net.get_submodule(name).named_children()]
            if len(children) > 1 and others.isdisjoint(children):
                return children
        return [level]

    # ---- the family ------------------------------------------------------------------------------------------------

    @cached_property
    def family(self) -> str:
        """By what the blocks of the last stage do: attention, an MLP over tokens, or nothing but local operations."""
        name = type(self.net).__name__
        if name in FAMILY:
            return FAMILY[name]
        begin, end = (self._trace.source(modules[-1]) for modules in self.cut()[2:])
        inside = {call.kind for call in self._trace.calls if begin.done < call.begun < end.done}
        if any(TOKEN_MLP.search(module) for module in inside) and 'Mixer' in name:
            return 'mlp'
        return 'attention' if any(ATTENTION.search(m) and not NOT_ATTENTION.match(m) for m in inside) else 'cnn'

    # ---- shapes ----------------------------------------------------------------------------------------------------

    def declared_size(self) -> tuple[int, int] | None:
        config = getattr(self.net, 'pretrained_cfg', None) or {}
        embed = getattr(self.net, 'patch_embed', None)
        if getattr(embed, 'strict_img_size', False) and getattr(embed, 'img_size', None):
            return tuple(embed.img_size)
        size = getattr(self.net, 'img_size', None)
        if isinstance(size, (tuple, list)) and len(size) == 2:
            return tuple(size)
        return tuple(config['input_size'][-2:]) if config.get('fixed_input_size') else None

    @cached_property
    def _trace(self) -> Trace:
        return Trace(self.net, lambda: self.look(Trace.BATCH, noise=True))

    @property
    def prefix(self) -> int:
        """How many class tokens and their like the network says it has."""
        return getattr(self.net, 'num_prefix_tokens', 0)

    def _layout(self, name: str) -> Layout:
        """How the output of a module lies in memory."""
        last = str(getattr(self.net, 'output_fmt', '')).endswith('NHWC')
        return Layout(self._trace.source(name).output, self.input_size, self.prefix, last)

    @cached_property
    def _layouts(self) -> list[Layout]:
        layouts = []
        for i, modules in enumerate(self.cut(), 1):
            try:
                layouts.append(self._layout(modules[-1]))
            except ValueError as error:
                raise ValueError(
                    f'{self.key}: {self.library} {type(self.net).__name__} cannot be cut after {modules[-1]} (stage '
                    f'{i}): {error}'
                ) from error
        return layouts

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        _ = self.scorer  # as in every view
        ends = [f'{self.net_name}.{modules[-1]}' for modules in self.cut()]
        return tuple(Stage(end, layout.channels, layout.grid) for end, layout in zip(ends, self._layouts))

    def to_map(self, native: Any, stage: int) -> Tensor:
        order = self._order(stage)
        return self._layouts[stage - 1].to_map(native if order is None else native[:, order])

    def from_map(self, x: Tensor, stage: int) -> Any:
        named = [] if self.class_token == 'mean' else self.own_tokens()
        native = self._layouts[stage - 1].from_map(x, lambda count, width: class_tokens(named, count, width))
        order = self._order(stage)
        return native if order is None else native[:, order.argsort()]

    def own_tokens(self) -> list[tuple[str, nn.Parameter]]:
        """The network's class tokens and their like, by name."""
        return [(name, token) for name, token in self.net.named_parameters() if 'token' in name]

    def _order(self, stage: int) -> Tensor | None:
        """Where each token of a row by row grid stands, in a network that keeps the tokens of a window together."""
        reroll = getattr(self.net, 'reroll', None)  # Hiera
        if reroll is None:
            return None
        height, width = self.stages[stage - 1].grid
        tokens = torch.arange(height * width, device=next(self.net.parameters()).device)
        block = int(self.stages[stage - 1].source.rpartition('.')[2])
        return reroll(tokens.view(1, -1, 1), block).flatten()

    # ---- the tail --------------------------------------------------------------------------------------------------

    def tail(self, native: Any, start: int = 4) -> Knowledge:
        with self.watching() as known:
            self._replay(native, start)
        return Knowledge(**known)

    def classify(self, native: Any) -> Knowledge:
        return self.tail(native, start=5)

    def run_stage(self, stage: int, x: Any) -> Any:
        outputs: list[Any] = []
        end = self.model.get_submodule(self.stages[stage - 1].source)
        hook = end.register_forward_hook(lambda module, args, output: outputs.append(output))
        try:
            self._replay(x, stage)
        finally:
            hook.remove()
        return outputs[0]

    def _replay(self, native: Any, start: int) -> None:
        """Run the whole classifier from the native output of stage ``start - 1``."""
        source = self.stages[start - 2].source.removeprefix(f'{self.net_name}.')
        like = tensors(native)[0]
        batch = like.size(0) // self._layouts[start - 2].ratio
        with self._trace.answered(source, native):
            self.model(like.new_zeros(batch, self.in_channels, *self.input_size), mode='tensor')

    @property
    def in_channels(self) -> int:
        declared = getattr(self.net, 'in_chans', None)
        first = super().in_channels
        return declared or (first if first <= 4 else 3)  # the first convolution may read rearranged pixels


@stage_view('mmpretrain.TIMMBackbone')
class TimmBackboneStages(TimmStages):
    """A timm network as the backbone of an ``ImageClassifier``, with MMPretrain's neck and head."""

    net_name = 'backbone.timm_model'

    def cut(self) -> list[list[str]]:
        if re.match('Feature.*Net', type(self.net).__name__):  # by name, since timm is optional
            raise ValueError(
                f'{self.key}.backbone.features_only=True takes the network apart; leave it out, or set it to False'
            )
        return super().cut()


@stage_view('mmpretrain.TimmClassifier')
class TimmClassifierStages(TimmStages):
    """A timm network with its own head.

    Where it has two heads, for a class and a distillation token, the logits are their mean, as the network gives them
    in evaluation, and the feature is that of the class token.
    """

    net_name = 'model'
    loss_name = 'loss_module'

    def find_classifier(self) -> str:
        found = self.net.get_classifier() if hasattr(self.net, 'get_classifier') else None
        head = found[0] if isinstance(found, (tuple, list, nn.ModuleList)) else found
        if head is None or isinstance(head, nn.Identity):
            raise ValueError(f'{self.key}: timm {type(self.net).__name__} has no classifier; set num_classes')
        # A classifier with a norm or pooling of its own: the feature is what its linear layer reads.
        inside = [m for name, m in head.named_modules() if 'dist' not in name]
        linear = [m for m in inside if isinstance(m, (nn.Linear, nn.Conv2d))] or [head]
        return next(name for name, module in self.model.named_modules() if module is linear[-1])

    @property
    def scorer(self) -> str:
        return self.net_name

    @property
    def num_classes(self) -> int:
        return self.net.num_classes

    @property
    def feature_dim(self) -> int:
        layer = self.model.get_submodule(self.classifier)
        return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
