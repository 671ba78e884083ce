"""View of Hugging Face's image classifiers, and of any module that returns logits.

Nearly all of them keep their blocks or stages in one list. If there is none, losses can only read the logits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from ..heads import linear_layers, logits_of
from ..observer import outputs_of
from ..pooling import Pooling, has_random_pooler
from ..utils import PROBE, Grid
from .registry import Cut, cut_blocks, register_view, registered
from .timm import TimmClassifierView, declared_channels
from .traced import TracedView, last_module, lists_of
from .view import StageView

HEAD = re.compile(r'(^|[._])(classifier|cls|fc|head|heads|logits?|output)([._\d]|$)')
"""Names of layers that give logits although they are convolutions."""


@register_view('tas_mm.HuggingFaceBackbone')
@register_view('mmpretrain.HuggingFaceClassifier')
class ModuleView(TracedView):
    """View of a network with its own head. It is cut when a stage is requested; logits can be read from any network."""

    net_name = 'model'
    cut_at_once = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.in_channels = declared_channels(self.net)
        self.prefix = 1 + getattr(getattr(self.net, 'config', None), 'num_register_tokens', 0)

    def cut(self) -> Sequence[Sequence[str]]:
        """Cut after the last module of each map size, or into equal groups of blocks."""
        if self._cut:
            return super().cut()
        levels = [self._last(level) for level in self._levels()]
        by_grid = {self.layout(level).grid: level for level in levels} if len(levels) != 4 else {}
        if len(by_grid) >= 4:
            levels = list(by_grid.values())[-4:]
        return [[levels[blocks[-1]]] for blocks in cut_blocks(len(levels))]

    def _levels(self) -> list[str]:
        """Return the blocks or stages: those in the outermost list of four or more, or ``layer1`` to ``layer4``."""
        layers = ['layer1', 'layer2', 'layer3', 'layer4']
        if all(hasattr(self.net, layer) for layer in layers):
            return layers
        lists = lists_of(self.net)
        lists = {name: m for name, m in lists.items() if len(m) > 3 and not re.search(HEAD, name)}
        if not lists:
            library = type(self.net).__module__.split('.')[0]
            raise ValueError(
                f'{self.key}: {library} {type(self.net).__name__} has no list of 4 or more blocks where it could be '
                "cut, so only its logits can be read. Distill with type='tas_mm.PairDistiller' and terms that read "
                'logits, or register a cut (docs/own_backbone.md)'
            )
        found = min(lists, key=lambda name: (name.count('.'), -sum(p.numel() for p in lists[name].parameters())))
        return [f'{found}.{name}' for name, _ in lists[found].named_children()]

    def _last(self, name: str) -> str:
        """Return the module whose output is a stage's: the one that shrinks the map for the next stage, or a block."""
        module = self.net.get_submodule(name)
        if getattr(module, 'downsample', None) is not None and hasattr(module, 'blocks'):
            return f'{name}.downsample'  # of Swin: as in MMPretrain's
        blocks = isinstance(getattr(module, 'blocks', None), nn.ModuleList)
        return last_module(self.net, f'{name}.blocks' if blocks else name)

    def declared_size(self) -> Grid | None:
        """Return the size in the network's config if it has positional embeddings, which fit one size only."""
        declared = super().declared_size()
        if declared or not any(re.search('pos(ition)?_embed', name) for name, _ in self.net.named_parameters()):
            return declared
        size = getattr(getattr(self.net, 'config', self.net), 'image_size', None)
        return (size, size) if isinstance(size, int) else size and tuple(size)

    def find_classifier(self) -> str | None:
        """Return the dotted name of the linear layer whose input is the feature, or None."""
        return next(reversed(linear_layers(self.model)), None)

    @cached_property
    def headless(self) -> bool:
        """True if the network returns features: no ``logits``, and no classifier as its last layer.

        A classifier is a linear layer on vectors, or a layer inside of a head or classifier, by its name.
        """
        if self.feature_kind:
            return True
        output, last, shape = self._last_layer()
        if hasattr(output, 'logits'):
            return False
        vector = logits_of(output)
        if not isinstance(vector, Tensor) or vector.dim() != 2 or last is None:
            return True
        named = re.search(HEAD, last) is not None
        linear = isinstance(self.model.get_submodule(last), nn.Linear) and len(shape) == 2
        return not (shape[1] == vector.size(1) and (named or linear))

    def _last_layer(self) -> tuple[Any, str | None, tuple[int, ...]]:
        """Return the network's output, and the name and output shape of the last linear or convolution layer."""
        seen: list[tuple[str, tuple[int, ...]]] = []
        layers = [(n, m) for n, m in self.model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        hooks = [
            m.register_forward_hook(lambda _, inputs, output, name=n: seen.append((name, tuple(output.shape))))
            for n, m in layers
        ]
        try:
            with outputs_of(self.model, [self.net_name]) as outputs:
                self.look(PROBE)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs[self.net_name], *(seen[-1] if seen else (None, ()))

    def find_output(self) -> str:
        """Return the dotted name of the module whose output a headless network returns."""
        return self.net_name

    def pooling_of(self, output: Any) -> Pooling:
        """Return the conversion of an output to the feature."""
        random = has_random_pooler(self.net)
        return Pooling(output, self.feature_kind, self.input_size, self.prefix, random_pooler=random)

    def count_classes(self) -> int:
        """Return the network's own number of classes, or None if it is not known."""
        with outputs_of(self.model, [self.net_name]) as seen:
            self.look()
        return logits_of(seen[self.net_name]).size(1)

    def find_logits(self) -> str:
        """Return the dotted name of the module whose output is the logits."""
        return self.net_name

    def token_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the network's class tokens, registers and the like, by name."""
        return [(name.rpartition('.')[2], token) for name, token in super().token_parameters()]


@register_view('tas_mm.ModuleTeacher')
def view_of_module(model: nn.Module, input_size: Grid | None, key: str) -> StageView:
    """Return the view of the module inside: a registered one, timm's for a timm network, else the general one."""
    found = registered(model.model)
    if isinstance(found, Cut):
        return ModuleView(model, input_size, key, found)
    if found is None:
        from_timm = any(cls.__module__.split('.')[0] == 'timm' for cls in type(model.model).__mro__)
        found = TimmClassifierView if from_timm else ModuleView
    return found(model, input_size, key)
