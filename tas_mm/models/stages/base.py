"""The stage view: any classifier seen as four stages and a head.

A view owns no parameter and is no module. It knows where a built classifier can be cut and can run what comes after the
cut; everything else in the package asks the view and never the backbone. Adding a backbone is one small class, see
``docs/own_backbone.md``.

Features cross from one network to the other as *maps* of shape ``(B, C, H, W)``. What the modules of a network hand to
each other (maps, tokens with a class token, tokens with their grid) is its *native* form; ``to_map`` and ``from_map``
convert.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, NamedTuple

import torch
from mmengine.utils.misc import apply_to
from torch import Tensor, nn

from .replay import tensors

FAMILIES = ('cnn', 'attention', 'mlp')
"""How a network mixes positions. Early and late part and the projector of a pair follow from it.

- ``cnn``: from neighbours only, with weights that are the same everywhere: convolutions of any kernel size (VAN's and
  HorNet's large ones too), and pooling as a token mixer (PoolFormer), which is local.
- ``attention``: from everywhere, by content: attention in any form, over windows, channels (XCiT) or nearest neighbours
  in feature space (the graphs of ViG).
- ``mlp``: from everywhere, with fixed weights: linear layers over positions.

Of a hybrid the late stages decide, since those are what it adds to an assistant: convolutions followed by attention
(MobileViT, EfficientFormer, TinyViT, LeViT) make ``attention``.
"""

DEFAULT_SIZE = (224, 224)

STAGES = ('stage1', 'stage2', 'stage3', 'stage4')
READINGS = ('logits', 'feature', *STAGES)
"""What both networks give a loss, by the names of the recorders."""


CLASS_TOKENS = ('own', 'mean')
"""What ``StagedClassifier.from_map`` makes class tokens of."""


class Knowledge(NamedTuple):
    """What one network knows of a batch: ``K = {f, p}`` (TAS, arXiv 2410.12342).

    Attributes:
        feature (Tensor): The final feature after pooling (or the class token its head was trained on), ``(B, C)``.
        logits (Tensor | None): ``(B, num_classes)``; None of a part of a detector.
    """

    feature: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class Stage:
    """One of the four stages, as measured on a real forward pass.

    Attributes:
        source (str): Dotted name, in the classifier, of the module whose output is that of the stage.
        channels (int): Width of that output.
        grid (tuple): Its height and width in pixels or patches.
    """

    source: str
    channels: int
    grid: tuple[int, int]


class StagedClassifier(ABC):
    """View of a built classifier that has ``backbone``, ``neck`` and ``head``, as MMPretrain's have.

    A subclass names the family and the cut, and says how a stage runs if calling its modules in order is not enough.

    Args:
        model (nn.Module): The classifier. Only looked at, never changed.
        input_size (tuple, optional): Height and width of the images. Defaults to what the network declares, else 224.
        key (str): Where ``model`` stands in the config, for error messages. Defaults to ``'model'``.

    Raises:
        ValueError: If the network cannot be cut, or images of that size do not fit it.
    """

    family: str
    """'cnn', 'attention' or 'mlp': how the stages mix positions."""

    net_name = 'backbone'
    """Dotted name, in the classifier, of the network that is cut; the names in ``cut`` are relative to it."""

    loss_name = 'head.loss_module'
    """Dotted name of the loss module, whose second argument is the labels."""

    any_size = False
    """Whether the network sees images of many sizes, as detectors do, and its late stages take maps of any."""

    class_token = 'own'
    """Fresh class tokens: the network's own, or the mean of the map that stands beside them."""

    def __init__(self, model: nn.Module, input_size: tuple[int, int] | None = None, key: str = 'model') -> None:
        self.model = model
        self.key = key
        self.classifier = self.find_classifier()
        self.input_size = tuple(input_size or self.declared_size() or DEFAULT_SIZE)
        cut = self.cut()  # refuse at once what cannot be cut
        if len(cut) != 4 or not all(cut):
            raise ValueError(
                f'{key}.{self.net_name}: this {type(self.net).__name__} comes out in {sum(map(bool, cut))} stages, but '
                '4 are needed; give it more stages or blocks'
            )

    # ---- what a subclass says -------------------------------------------------------------------------------------

    @abstractmethod
    def cut(self) -> Sequence[Sequence[str]]:
        """Four lists of module names, in the order they run; the last of each gives the stage's output."""

    def declared_size(self) -> tuple[int, int] | None:
        """The image size that the network was built for, or None if it takes any."""
        return None

    def run_stage(self, stage: int, x: Any) -> Any:
        """Run one stage on the native output of the one before."""
        for name in self.cut()[stage - 1]:
            x = self.net.get_submodule(name)(x)
        return x

    def to_map(self, native: Any, stage: int) -> Tensor:
        """Native output of a stage to a map ``(B, C, H, W)``, without class tokens."""
        return native

    def from_map(self, x: Tensor, stage: int) -> Any:
        """A map ``(B, C, H, W)`` to the native form of a stage's output, with fresh class tokens, if any."""
        return x

    def finish(self, native: Any) -> Any:
        """Native output of stage 4 to what the backbone returns for it (final norm, pooling of tokens, ...)."""
        return native

    def outputs(self, native: Any) -> tuple:
        """Native output of stage 4 to all that the backbone returns, in the form that neck and head take."""
        return (self.finish(native),)

    # ---- what every view offers -----------------------------------------------------------------------------------

    @property
    def net(self) -> nn.Module:
        """The network that is cut."""
        return self.model.get_submodule(self.net_name)

    @property
    def feature_dim(self) -> int:
        """Width of ``Knowledge.feature``."""
        return self.model.get_submodule(self.classifier).in_features

    @property
    def num_classes(self) -> int:
        return self.model.get_submodule(self.classifier).out_features

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return image_channels(self.model)

    @property
    def recorders(self) -> dict[str, dict]:
        """MMRazor recorder configs for everything a loss may want, by name."""
        stages = {name: dict(type='ModuleOutputs', source=s.source) for name, s in zip(STAGES, self.stages)}
        return dict(
            **stages,
            feature=dict(type='ModuleInputs', source=self.classifier),
            logits=dict(type='ModuleOutputs', source=self.scorer),
            native1=stages['stage1'],  # the same record, which is read as it is
            gt_labels=dict(type='ModuleInputs', source=self.loss_name),
        )

    def read(self, recorder: str, record: Any) -> Any:
        """What losses and connectors get of a record.

        Args:
            recorder (str): Name of the recorder.
            record: What it recorded.

        Returns:
            Of a stage the map ``(B, C, H, W)``, without class tokens; of the feature ``(B, C)``; of labels that were
            mixed the larger one ``(B, )``, since MMRazor's losses take indices; of anything else the record itself.
        """
        if recorder in STAGES:
            return self.to_map(record, 1 + STAGES.index(recorder))
        if recorder == 'feature' and isinstance(record, Tensor) and record.ndim == 4 and record.shape[2:] == (1, 1):
            return record.flatten(1)  # read by a classifier that is a 1x1 convolution
        if recorder == 'gt_labels' and isinstance(record, Tensor) and record.ndim == 2:
            return record.argmax(dim=1)
        return record

    def shape(self, recorder: str) -> tuple[int, ...]:
        """Shape, without the batch, of what ``read`` gives: ``(C, H, W)`` of a stage, ``(C, )`` of the others.

        Args:
            recorder (str): One of ``READINGS``.
        """
        if recorder in STAGES:
            stage = self.stages[STAGES.index(recorder)]
            return stage.channels, *stage.grid
        return (self.feature_dim if recorder == 'feature' else self.num_classes,)

    def add_map(self, native: Any, x: Tensor, stage: int) -> Any:
        """Native output of a stage, and what a map ``(B, C, H, W)`` is in its form added; own class tokens stay."""
        kept, self.class_token = self.class_token, 'own'
        try:
            shifts = zip(*(tensors(self.from_map(y, stage)) for y in (x, torch.zeros_like(x))))
        finally:
            self.class_token = kept

        def add(leaf: Tensor) -> Tensor:
            there, here = next(shifts)
            return leaf + (there - here) if leaf.is_floating_point() else leaf

        return apply_to(native, lambda leaf: isinstance(leaf, Tensor), add)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The four stages, measured at ``input_size`` when first asked for.

        Raises:
            ValueError: If images of that size do not fit the network.
        """
        _ = self.scorer  # which looks at the network too, and should do so before anybody hangs hooks on stages
        return self._measure([f'{self.net_name}.{modules[-1]}' for modules in self.cut()])

    @cached_property
    def scorer(self) -> str:
        """Dotted name of the module whose output is the logits.

        That is the classifier, or the whole head where it makes something else of the classifier's output: the mean of
        the scores of a class and a distillation token, or a scaled cosine.

        Raises:
            ValueError: If the head never calls the classifier, whose input would be the feature.
        """
        seen: dict[str, Tensor] = {}
        hooks = [
            self.model.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: seen.update({name: output})
            )
            for name in (self.classifier, 'head')
        ]
        try:
            self.look(2, noise=True)
        finally:
            for hook in hooks:
                hook.remove()
        if self.classifier not in seen:
            raise ValueError(
                f'{self.key}.head: {type(self.model.head).__name__} never calls {self.classifier}, whose input would '
                'be the feature; let it call the layer in place of reading its weights'
            )
        whole = seen.get('head')  # of several branches a tuple, of which the classifier gives one
        more = isinstance(whole, Tensor) and not torch.equal(seen[self.classifier].flatten(1), whole)
        return 'head' if more else self.classifier

    def classify(self, native: Any) -> Knowledge:
        """Native output of stage 4 to pooled feature and logits."""
        with self.watching() as known:
            out = self.outputs(native)
            self.model.head(out if self.model.neck is None else self.model.neck(out))
        return Knowledge(**known)

    @contextmanager
    def watching(self) -> Iterator[dict[str, Tensor]]:
        """Read feature and logits of what runs within it, from where the recorders read them."""
        known: dict[str, Tensor] = {}
        classifier, scorer = self.model.get_submodule(self.classifier), self.model.get_submodule(self.scorer)
        hooks = (
            classifier.register_forward_pre_hook(lambda module, inputs: known.update(feature=inputs[0].flatten(1))),
            scorer.register_forward_hook(lambda module, inputs, output: known.update(logits=output)),
        )
        try:
            yield known
        finally:
            for hook in hooks:
                hook.remove()

    def tail(self, native: Any, start: int = 4) -> Knowledge:
        """Run stages ``start`` to 4, pooling and head.

        Args:
            native: Native output of stage ``start - 1``, as recorded or as made by ``from_map``.
            start (int): 2 to 5; with 5 only what follows the stages runs. Defaults to 4.

        Returns:
            Knowledge: Pooled feature and logits.
        """
        for stage in range(start, 5):
            native = self.run_stage(stage, native)
        return self.classify(native)

    def find_classifier(self) -> str:
        """Dotted name of the linear layer whose input is the feature: the head's last, that of a class token."""
        names = [name for name in self._linear_layers() if 'dist' not in name]
        if not names:
            raise ValueError(
                f'{self.key}.head: {type(getattr(self.model, "head", None)).__name__} has no linear layer to take the '
                'logits from; use a LinearClsHead or a VisionTransformerClsHead'
            )
        return names[-1]

    def _linear_layers(self, within: str = 'head') -> list[str]:
        """Dotted names of the linear layers in a part of the classifier."""
        return [
            name for name, m in self.model.named_modules() if name.startswith(f'{within}.') and isinstance(m, nn.Linear)
        ]

    def _measure(self, sources: Sequence[str]) -> tuple[Stage, ...]:
        """Shapes of the stages' outputs, from one pass over a blank image in eval mode (so nothing is updated)."""
        modules = [self.model.get_submodule(source) for source in sources]
        maps: dict[int, Tensor] = {}

        def keep(i: int) -> Callable:
            return lambda module, inputs, output: maps.__setitem__(i, self.to_map(output, i + 1))

        hooks = [module.register_forward_hook(keep(i)) for i, module in enumerate(modules)]
        try:
            self.look()
        finally:
            for hook in hooks:
                hook.remove()
        unseen = [source for i, source in enumerate(sources) if i not in maps]
        if unseen:
            raise ValueError(
                f'{self.key}: the forward pass of {type(self.net).__name__} goes round {unseen[0]}, whose output is '
                'that of a stage; if an option such as with_cp=True makes it do so, leave that out'
            )
        return tuple(Stage(source, maps[i].size(1), tuple(maps[i].shape[-2:])) for i, source in enumerate(sources))

    def images(self, batch: int, noise: bool = False) -> Tensor:
        """Blank images, or always the same noise, of the size, type and device that the network takes."""
        images = torch.zeros(batch, self.in_channels, *self.input_size)
        if noise:
            images.normal_(generator=torch.Generator().manual_seed(0))
        return images.to(next(self.model.parameters()))

    def run(self, images: Tensor) -> None:
        """Pass images through all that hooks and recorders look at."""
        self.model(images, mode='tensor')

    def look(self, batch: int = 1, noise: bool = False) -> None:
        """Pass blank or noisy images through the network, in eval mode, for hooks to look at; nothing is updated.

        Raises:
            ValueError: If images of ``input_size`` do not fit the network.
        """
        try:
            with evaluating(self.model):
                self.run(self.images(batch, noise))
        except Exception as error:
            raise ValueError(
                f'{self.key}: images of {self.input_size[0]}x{self.input_size[1]} do not fit '
                f'{type(self.net).__name__} ({type(error).__name__}: {error}). Set '
                'model.distiller.input_size=(height, width) to the size that the train pipeline gives'
            ) from error

    def check_tail(self, start: int = 4, tolerance: float = 1e-3) -> float:
        """Make sure, on noise and in eval mode, that the tail gives what the whole network gives.

        Args:
            start (int): First stage of the tail, 2 to 5. Defaults to 4.
            tolerance (float): Largest error relative to the largest value. Defaults to 1e-3, which allows for the
                reduced precision of some accelerators.

        Returns:
            float: The larger of the errors of feature and logits.

        Raises:
            ValueError: If it is larger than ``tolerance``: stages ``start`` to 4 read more than the output of the stage
                before, or the view is wrong.
        """
        source = self.stages[start - 2].source
        records: dict[str, Any] = {}

        def keep_native(module: nn.Module, inputs: tuple, output: Any) -> None:
            records['native'] = copy_tensors(output)  # a copy, since the modules that follow may write into it

        hook = self.model.get_submodule(source).register_forward_hook(keep_native)
        with evaluating(self.model):
            try:
                with self.watching() as known:
                    self.run(self.images(2, noise=True))
            finally:
                hook.remove()
            tail = self.tail(records['native'], start)
        whole = Knowledge(**known)
        both = [(a, b) for a, b in zip(tail, whole) if b is not None]
        error = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in both)
        if not error <= tolerance:
            role = 'teacher' if self.key == 'model.teacher' else 'student'
            raise ValueError(
                f'{self.key}: {type(self.net).__name__} cannot be a late part from stage {start} on: run from the '
                f'output of {source}, its stages give another result than the whole network (relative error '
                f'{error:.2g}), so they read more than that output. Make it the early part, with '
                f'model.distiller.assistant.early={role!r}'
            )
        return error

    def grid_of(self, tokens: int) -> tuple[int, int]:
        """Height and width of so many tokens, in the proportions of the image.

        Raises:
            ValueError: If they do not fill a rectangle of those proportions.
        """
        height = round(math.sqrt(tokens * self.input_size[0] / self.input_size[1]))
        if tokens % height:
            raise ValueError(
                f'{self.key}: {tokens} tokens do not fill a grid with the proportions of an image of '
                f'{self.input_size[0]}x{self.input_size[1]}; set model.distiller.input_size=(height, width)'
            )
        return height, tokens // height


def image_channels(model: nn.Module) -> int:
    """Channels of the images that a network takes: those of its first convolution; 3 if it has none."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within it the model is in eval mode, without gradients; every module gets its own mode back."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


def copy_tensors(data: Any) -> Any:
    """The same nested data with copies of its tensors."""
    return apply_to(data, lambda leaf: isinstance(leaf, Tensor), Tensor.clone)


_VIEWS: dict[str, type[StagedClassifier]] = {}


def stage_view(*names: str) -> Callable[[type[StagedClassifier]], type[StagedClassifier]]:
    """Register a view (or what makes one) for backbones, by package and class: ``@stage_view('mmpretrain.ResNet')``.

    Subclasses of a named backbone are covered too, unless they have a view of their own.
    """

    def register(view: type[StagedClassifier]) -> type[StagedClassifier]:
        for name in names:
            _VIEWS[name] = view
        return view

    return register


def registered_view(network: nn.Module) -> type[StagedClassifier] | None:
    """The view that is registered for a network's class, or for one that it derives from."""
    names = (f'{cls.__module__.split(".")[0]}.{cls.__name__}' for cls in type(network).__mro__)
    return next((_VIEWS[name] for name in names if name in _VIEWS), None)


def view_of(model: nn.Module, input_size: tuple[int, int] | None = None, key: str = 'model') -> StagedClassifier:
    """The stage view of a classifier.

    Args:
        model (nn.Module): A classifier with ``backbone``, ``neck`` and ``head``; or one of MMDetection's detectors.
        input_size (tuple, optional): Height and width of the images. Defaults to what the network declares, else 224.
        key (str): Where ``model`` stands in the config, for error messages. Defaults to ``'model'``.

    Raises:
        ValueError: If no view is registered for its backbone.
    """
    backbone = getattr(model, 'backbone', model)
    view = registered_view(model) or registered_view(backbone)  # of a detector both have a say
    if view is not None:
        return view(model, input_size, key)
    name = f'{type(backbone).__module__.split(".")[0]}.{type(backbone).__name__}'
    near = get_close_matches(name, _VIEWS, n=3, cutoff=0.5)
    raise ValueError(
        f'{key}.backbone: no stage view for {name}. '
        + (f'Nearest that have one: {", ".join(near)}. ' if near else '')
        + f'All: {", ".join(sorted(_VIEWS))}. docs/own_backbone.md shows how to add one'
    )
