"""Views of Hugging Face's image classifiers, and of any module that gives logits.

Their networks have no ``feature_info``, but nearly all hold their blocks or stages in one list. Cut there, they run
from the cut on as timm's do. Where no such list is found the logits are all that a loss can read, and whoever asks for
more is told so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from .base import StagedClassifier, registered_view, stage_view
from .timm import TimmClassifierStages, TimmStages
from .tokens import cut_blocks


def logits_of(output: Any) -> Tensor:
    """The logits ``(B, num_classes)`` in what a network gives: a tensor, a tuple, or an output of transformers."""
    output = getattr(output, 'logits', output)
    return output[0] if isinstance(output, (tuple, list)) else output


@stage_view('mmpretrain.HuggingFaceClassifier')
class ModuleStages(TimmStages):
    """A network called ``model`` in the classifier, with its own head.

    It is cut when a stage is asked for, not before: logits can be read of any.
    """

    net_name = 'model'
    loss_name = 'loss_module'
    scorer = net_name

    def __init__(self, model: nn.Module, input_size: tuple[int, int] | None = None, key: str = 'model') -> None:
        self.model = model
        self.key = key
        self.input_size = tuple(input_size or self.declared_size() or (224, 224))

    def declared_size(self) -> tuple[int, int] | None:
        """What the network says, if it has positional embeddings, which fit one size."""
        if not any(re.search('pos(ition)?_embed', name) for name, _ in self.net.named_parameters()):
            return None
        size = getattr(getattr(self.net, 'config', self.net), 'image_size', None)
        return (size, size) if isinstance(size, int) else size and tuple(size)

    @property
    def library(self) -> str:
        return type(self.net).__module__.split('.')[0]

    @property
    def prefix(self) -> int:
        return 1 + getattr(getattr(self.net, 'config', None), 'num_register_tokens', 0)

    def cut(self) -> list[list[str]]:
        return [[end] for end in self._ends]

    @cached_property
    def _ends(self) -> list[str]:
        """Modules that end the four stages: the last ones of each size of the map, or of equal blocks."""
        levels = [self._last(level) for level in self._levels()]
        if len(levels) == 4:
            return levels
        by_grid = {self._layout(level).grid: level for level in levels}
        return list(by_grid.values())[-4:] if len(by_grid) >= 4 else [levels[g[-1]] for g in cut_blocks(len(levels))]

    def _levels(self) -> list[str]:
        """Names of the blocks or stages: those in the outermost list of four or more, or ``layer1`` to ``layer4``."""
        if all(hasattr(self.net, f'layer{i}') for i in range(1, 5)):
            return [f'layer{i}' for i in range(1, 5)]
        lists = {n: m for n, m in self.net.named_modules() if type(m) in (nn.Sequential, nn.ModuleList) and len(m) > 3}
        if not lists:
            raise ValueError(
                f'{self.key}: {self.library} {type(self.net).__name__} has no list of 4 or more blocks where it could '
                "be cut, so only its logits can be read: distil with type='tas_mm.PairDistiller' and terms that read "
                'logits, or write a view of it (docs/own_backbone.md)'
            )
        depth = min(name.count('.') for name in lists)
        size = lambda name: sum(p.numel() for p in lists[name].parameters())  # noqa: E731
        found = max((name for name in lists if name.count('.') == depth), key=size)
        return [f'{found}.{name}' for name, _ in lists[found].named_children()]

    def _last(self, name: str) -> str:
        """The module in a stage whose output is the stage's: what shrinks the map for the next, or the last block."""
        module = self.net.get_submodule(name)
        if getattr(module, 'downsample', None) is not None and hasattr(module, 'blocks'):
            return f'{name}.downsample'  # of Swin: as in MMPretrain's
        if isinstance(getattr(module, 'blocks', None), nn.ModuleList):
            name = f'{name}.blocks'
        return super()._last(name)

    def find_classifier(self) -> str:
        linear = [name for name, m in self.model.named_modules() if isinstance(m, nn.Linear) and 'dist' not in name]
        if not linear:
            raise ValueError(
                f'{self.key}: {type(self.net).__name__} has no linear layer whose input would be the feature, so only '
                'its logits can be read'
            )
        return linear[-1]

    @cached_property
    def classifier(self) -> str:
        return self.find_classifier()

    @property
    def feature_dim(self) -> int:
        return self.model.get_submodule(self.classifier).in_features

    @cached_property
    def num_classes(self) -> int:
        """As many as there are logits for a blank image."""
        found: list[Tensor] = []
        hook = self.net.register_forward_hook(lambda module, inputs, output: found.append(logits_of(output)))
        try:
            self.look()
        finally:
            hook.remove()
        return found[0].size(1)

    @property
    def recorders(self) -> dict[str, dict]:
        logits = dict(logits=dict(type='ModuleOutputs', source=self.scorer))
        try:
            return {**super().recorders, **logits}
        except ValueError:  # of a network that cannot be cut: what read a stage has failed before
            return logits

    def read(self, recorder: str, record: Any) -> Any:
        return logits_of(record) if recorder == 'logits' else super().read(recorder, record)

    @contextmanager
    def watching(self) -> Iterator[dict[str, Tensor]]:
        with super().watching() as known:
            yield known
        known['logits'] = logits_of(known['logits'])

    def own_tokens(self) -> list[tuple[str, nn.Parameter]]:
        return [(name.rpartition('.')[2], token) for name, token in self.net.named_parameters() if 'token' in name]


@stage_view('tas_mm.ModuleTeacher')
def view_of_module(model: nn.Module, input_size: tuple[int, int] | None, key: str) -> StagedClassifier:
    """The view of the module inside: its own if it has one, timm's for a network of timm's, else :class:`ModuleStages`.

    A view of one's own for such a module has ``net_name = 'model'``.
    """
    view = registered_view(model.model)
    if view is None:
        from_timm = any(cls.__module__.split('.')[0] == 'timm' for cls in type(model.model).__mro__)
        view = TimmClassifierStages if from_timm else ModuleStages
    return view(model, input_size, key)
