"""The stage view: any network seen as four stages and a head.

It knows where a built network can be cut, and can run the part after the cut. Features move from one network to the
other as *maps* ``(B, C, H, W)``. The *native* form is what a network's own modules hand to each other: maps, tokens
with a class token, or tokens with their grid. Views convert between the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..heads import check_predictions, is_self_supervised, linear_layers, sum_of_branches
from ..knowledge import Knowledge
from ..observer import Observer, outputs_of
from ..pooling import FEATURES, Pooling
from ..utils import DEFAULT_SIZE, PROBE, Grid, eval_mode
from .trace import short_circuit

if TYPE_CHECKING:
    from .registry import Cut

STAGES = ('stage1', 'stage2', 'stage3', 'stage4')
LEVELS = ('level1', 'level2', 'level3', 'level4', 'level5')  # of a detector's pyramid, from the finest
READINGS = ('logits', 'feature', *STAGES, *LEVELS, 'dense_logits')  # what a loss can read from a network
CLASS_TOKENS = ('own', 'mean')  # class tokens of a late part: the network's own, or the map's mean


class TailError(ValueError):
    """Raised if the tail of a network does not reproduce the whole network's output."""


@dataclass(frozen=True)
class Stage:
    """One of the four stages, as measured on a real forward pass."""

    source: str  # dotted name, in the model, of the module whose output is the stage's
    channels: int
    grid: Grid  # height and width of the output, in pixels or patches


class StageView(ABC):
    """View of a built network. It has no parameters, is not a module, and does not change after it is built.

    A network without a head is *headless*: ``classifier``, ``logits_source`` and ``num_classes`` are None, and the
    feature comes from the network's output (``feature_side`` is ``'output'``); see :class:`Pooling`.

    Args:
        model (nn.Module): A classifier with ``backbone``, ``neck`` and ``head``; one with a ``model`` that returns
            logits, such as ``TimmClassifier``; or a detector of MMDetection. Never changed.
        input_size (tuple, optional): Height and width of the images. Defaults to None: the size that the network
            declares, or 224.
        key (str): Name of ``model`` in the config, for error messages. Defaults to ``'model'``.
        cut (Cut, optional): Where the network is cut. Defaults to None: a subclass overrides :meth:`cut`.

    Raises:
        ValueError: If the network cannot be cut, or if images of that size do not fit it.
    """

    net_name = 'backbone'  # dotted name, in the model, of the network that is cut
    any_size = False  # whether images have many sizes, as a detector's, and late stages take maps of any size
    cut_at_once = True  # whether an uncuttable network raises when the view is built, or when a stage is requested
    prefix = 0  # number of class tokens, registers and the like that the network declares
    channels_last = False  # whether a map that fits both NCHW and NHWC is NHWC
    feature_kind: str | None = None  # one of FEATURES; if set, the network is treated as headless
    classes: list[int] | None = None  # for a teacher of other classes, the index of each class of the student
    dense_source: str | None = None  # dotted name of a one-stage detector's head
    pyramid_source: str | None = None  # dotted name of a detector's neck
    levels: tuple[tuple[int, ...], ...] = ()  # shapes (C, H, W) of the neck's outputs, from the finest

    def __init__(
        self, model: nn.Module, input_size: Grid | None = None, key: str = 'model', cut: Cut | None = None
    ) -> None:
        self.model, self.key, self._cut = model, key, cut
        self.in_channels = image_channels(model)
        height, width = input_size or self.declared_size() or DEFAULT_SIZE
        self.input_size: Grid = (height, width)
        if self.cut_at_once:
            _ = self.modules

    def cut(self) -> Sequence[Sequence[str]]:
        """Return four lists of module names, relative to the network; the output of the last is the stage's."""
        return self._cut.modules(self.net)

    def declared_size(self) -> Grid | None:
        """Return the image size that the network was built for, or None if it takes any."""
        return self._cut.declared_size(self.net) if self._cut else None

    def find_classifier(self) -> str | None:
        """Return the dotted name of the linear layer whose input is the feature, or None."""
        if getattr(self.model, 'head', None) is None or is_self_supervised(self.model):
            return None
        within = self._cut and self._cut.classifier
        names = within and linear_layers(self.model, f'{self.net_name}.{within}')
        names = names or linear_layers(self.model, 'head.')
        if not names:
            raise ValueError(
                f'{self.key}.head: {type(getattr(self.model, "head", None)).__name__} has no linear layer to take the '
                'logits from. Use a LinearClsHead or a VisionTransformerClsHead, or no head (head=None)'
            )
        return names[-1]

    @cached_property
    def family(self) -> str:
        """How the stages mix positions: one of ``FAMILIES``."""
        return self._cut.declared_family(self.net)

    @abstractmethod
    def to_map(self, native: Any, stage: int) -> Tensor:
        """Convert the native output of a stage to a map ``(B, C, H, W)``, without class tokens."""

    @abstractmethod
    def from_map(self, x: Tensor, stage: int, class_token: str = 'own') -> Any:
        """Convert a map ``(B, C, H, W)`` to a stage's native form, with class tokens by one of ``CLASS_TOKENS``."""

    @abstractmethod
    def run_tail(self, native: Any, start: int = 4) -> None:
        """Run stages ``start`` (2 to 5) to 4, pooling and head; an :class:`Observer` sees feature and logits."""

    def show(self, output: Any, native: Any) -> None:
        """Pass an output of the whole network to the hooks that wait for it."""
        with short_circuit({self.net: [lambda: output]}):
            self.net(native)

    def run(self, images: Tensor) -> Any:
        """Run the network's forward pass, without a loss."""
        return self.model(images, mode='tensor')

    def feature_of(self, record: Any, regions: Tensor | None = None) -> Tensor:
        """Return the feature ``(B, C)`` from the output of its source. A detector has one for each region."""
        if self.headless:
            return self.pooling(record)
        return record.flatten(1)  # of a classifier that is a 1x1 convolution: (B, C, 1, 1)

    def logits_of(self, record: Any) -> Tensor:
        """Return the logits ``(B, num_classes)`` from the output of their source, in the order of ``classes``."""
        logits = getattr(record, 'logits', record)
        if isinstance(logits, (tuple, list)):  # MMPretrain's Conformer predicts by the sum of its branches
            logits = sum(logits) if self.logits_source == 'head' else logits[0]
        return logits if self.classes is None else logits[:, self.classes]

    def find_logits(self) -> str:
        """Return the dotted name of the module whose output is the logits that the network predicts from.

        Raises:
            ValueError: If there is no such module.
        """
        given: list[Any] = []
        hook = self.model.head.register_forward_pre_hook(lambda head, inputs: given.extend(inputs[:1]))
        try:
            with outputs_of(self.model, (self.classifier, 'head')) as seen:
                self.look(PROBE, noise=True)
        finally:
            hook.remove()
        if self.classifier not in seen:
            raise ValueError(
                f'{self.key}.head: {type(self.model.head).__name__} never calls {self.classifier}, whose input would '
                'be the feature. Let it call the layer instead of reading its weights'
            )
        logits, whole = seen[self.classifier].flatten(1), sum_of_branches(seen.get('head'))
        if given:
            check_predictions(self.model.head, given[0], whole, f'{self.key}.head')
        if not isinstance(whole, Tensor):
            return self.classifier
        # A head of zeros cannot be compared.
        return self.classifier if torch.equal(logits, whole) and logits.any() else 'head'

    def count_classes(self) -> int | None:
        """Return the network's own number of classes, or None if it is not known."""
        return self.model.get_submodule(self.classifier).out_features if self.classifier else None

    def find_output(self) -> str:
        """Return the dotted name of the module whose output a headless network returns."""
        return 'backbone' if getattr(self.model, 'neck', None) is None or is_self_supervised(self.model) else 'neck'

    @cached_property
    def classifier(self) -> str | None:
        """Dotted name of the layer that gives the logits. None if there is none, or if it is not known."""
        return None if self.feature_kind else self.find_classifier()

    @cached_property
    def headless(self) -> bool:
        """True if the network has no head, or is treated so: it gives a feature, but no logits."""
        return self.classifier is None

    @cached_property
    def feature_source(self) -> str | None:
        """Dotted name of the module whose input is the feature, or, if headless, whose output contains it."""
        return self.find_output() if self.headless else self.classifier

    @property
    def feature_side(self) -> str:
        """Side of the source that the feature is on, ``'input'`` or ``'output'``."""
        return 'output' if self.headless else 'input'

    @cached_property
    def pooling(self) -> Pooling:
        """Conversion of a headless network's output to its feature."""
        with outputs_of(self.model, [self.feature_source]) as seen:
            self.look(PROBE, noise=True)
        try:
            return self.pooling_of(seen[self.feature_source])
        except (KeyError, ValueError) as error:
            raise ValueError(
                f'{self.key}: no feature can be read from {type(self.net).__name__}: {error}. Set '
                f'model.distiller.{self.key.rpartition(".")[2].replace("architecture", "student")}_feature to another '
                f'of {", ".join(FEATURES)}'
            ) from error

    def pooling_of(self, output: Any) -> Pooling:
        """Return the conversion of an output to the feature."""
        return Pooling(output, self.feature_kind, self.input_size, self.prefix, self.channels_last)

    @property
    def net(self) -> nn.Module:
        """The network that is cut."""
        return self.model.get_submodule(self.net_name)

    @cached_property
    def feature_dim(self) -> int:
        """Width of the feature."""
        if self.headless:
            return self.pooling.width
        if self.classifier is None:
            raise ValueError(
                f'{self.key}: {type(self.net).__name__} has no linear layer whose input would be the feature, so only '
                'its logits can be read'
            )
        layer = self.model.get_submodule(self.classifier)
        return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels

    @cached_property
    def num_classes(self) -> int | None:
        """Number of classes. None if there are no logits."""
        if self.headless:
            return None
        return self.count_classes() if self.classes is None else len(self.classes)

    @cached_property
    def logits_source(self) -> str | None:
        """Dotted name of the module whose output is the logits: the classifier, or a head that changes its output."""
        return None if self.headless else self.find_logits()

    @cached_property
    def modules(self) -> tuple[tuple[str, ...], ...]:
        """Module names from :meth:`cut`, checked."""
        where = f'{self.key}.{self.net_name}'
        try:
            cut = tuple(map(tuple, self.cut()))
        except ValueError as error:
            raise error if str(error).startswith(self.key) else ValueError(f'{where}: {error}') from error
        if len(cut) != 4 or not all(cut):
            found = f'this {type(self.net).__name__} has {sum(map(bool, cut))} stages, but 4 are needed'
            raise ValueError(f'{where}: {found}. Give it more stages or blocks')
        return cut

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The four stages, measured at ``input_size`` on first use."""
        _ = self.logits_source  # it runs the network too, and must do so before hooks are put on stages
        sources = [f'{self.net_name}.{names[-1]}' for names in self.modules]
        with outputs_of(self.model, sources) as seen:
            self.look()
        for source in sources:
            if source not in seen:
                raise ValueError(
                    f'{self.key}: the forward pass of {type(self.net).__name__} does not call {source}, whose output '
                    "is a stage's. If an option such as with_cp=True is the reason, remove it"
                )
        maps = [self.to_map(seen[source], stage) for stage, source in enumerate(sources, 1)]
        return tuple(Stage(source, x.size(1), tuple(x.shape[-2:])) for source, x in zip(sources, maps))

    def shape(self, reading: str) -> tuple[int, ...]:
        """Return the shape of one of ``READINGS`` without the batch: ``(C, H, W)`` for a map, else ``(C, )``."""
        if reading in STAGES:
            stage = self.stages[STAGES.index(reading)]
            return stage.channels, *stage.grid
        if reading in LEVELS:
            if LEVELS.index(reading) >= len(self.levels):
                name, count = type(self.model).__name__, len(self.levels)
                raise ValueError(
                    f'model.distiller.terms: a loss reads {reading}, but {self.key} ({name}) has '
                    + (f'a pyramid of {count} levels' if count else 'no pyramid')
                    + f'. Expected one of {", ".join(LEVELS[:count] or (*READINGS[:2], *STAGES))}'
                )
            return self.levels[LEVELS.index(reading)]
        if reading == 'dense_logits':
            return self.dense_shape()
        if reading == 'logits' and self.num_classes is None:
            raise ValueError(
                f'{self.key}: {type(self.model).__name__} has no logits to distill. Set '
                'model.distiller.logit_loss=None, and let terms read feature or one of stage1 to stage4'
            )
        return (self.feature_dim if reading == 'feature' else self.num_classes,)

    def dense_shape(self) -> tuple[int, ...]:
        """Return the shape of a row of a one-stage detector's class scores by location."""
        raise NotImplementedError

    def dense_form(self) -> str:
        """Describe what two one-stage detectors need to have in common."""
        raise NotImplementedError

    def dense_logits_of(self, record: Any) -> Tensor:
        """Return the class scores by location ``(N, K)`` in what a one-stage detector's head returned."""
        raise NotImplementedError

    def images(self, batch: int, noise: bool = False) -> Tensor:
        """Return zero images, or fixed noise, in the size, type and device that the network takes."""
        images = torch.zeros(batch, self.in_channels, *self.input_size)
        if noise:
            images.normal_(generator=torch.Generator().manual_seed(0))
        return images.to(next(self.model.parameters()))

    def look(self, batch: int = 1, noise: bool = False) -> None:
        """Run the network on zero images or noise in eval mode, for its hooks. Nothing is updated."""
        try:
            with eval_mode(self.model):
                self.run(self.images(batch, noise))
        except Exception as error:
            raise ValueError(
                f'{self.key}: images of {self.input_size[0]}x{self.input_size[1]} do not fit '
                f'{type(self.net).__name__} ({type(error).__name__}: {error}). Set '
                + (
                    'model.distiller.teacher_size=(height, width) to the size that it was built for'
                    if self.key == 'model.teacher'
                    else 'model.distiller.input_size=(height, width) to the size that train_pipeline gives'
                )
            ) from error

    def tail(self, native: Any, start: int = 4, regions: Tensor | None = None) -> Knowledge:
        """Run the tail once and return its knowledge. For repeated use create an :class:`Observer`."""
        _ = self.stages  # measure now, so that the observer does not record the measuring pass
        observer = Observer(self)
        try:
            seen, _ = observer(self.run_tail, native, start, regions=regions)
        finally:
            observer.remove()
        return Knowledge(seen.feature, seen.logits)

    def check_tail(self, start: int = 4, tolerance: float = 1e-3) -> float:
        """Return the relative error of the tail against the whole network, on noise.

        Raises:
            TailError: If it exceeds ``tolerance``, which allows for the lower precision of some accelerators.
        """
        source, observer = self.stages[start - 2].source, Observer(self)
        try:
            with eval_mode(self.model):
                with outputs_of(self.model, [source]) as seen:
                    whole, _ = observer(self.run, self.images(2, noise=True))
                tail, _ = observer(self.run_tail, seen[source], start)
        finally:
            observer.remove()
        pairs = ((tail.feature, whole.feature), (tail.logits, whole.logits))
        error = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs if b is not None)
        if not error <= tolerance:
            raise TailError(
                f'{self.key}: {type(self.net).__name__} cannot be a late part from stage {start} on: run from the '
                f'output of {source}, its stages give another result than the whole network (relative error '
                f'{error:.2g}), so they read more than that output'
            )
        return error


def image_channels(model: nn.Module) -> int:
    """Return the number of image channels that a network takes: those of its first convolution, or 3."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)
