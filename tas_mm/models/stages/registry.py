"""Registry of cuts and views of networks, by package and class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from torch import nn

from ..utils import Grid
from .chain import Chain, ChainView
from .traced import TracedView
from .view import StageView

FAMILIES = ('cnn', 'attention', 'mlp')
"""How a network mixes positions. ``'cnn'``: from neighbors (convolutions, also large ones, and pooling).
``'attention'``: from everywhere by content (also over windows, channels or neighbors in feature space). ``'mlp'``: from
everywhere with fixed weights (linear layers over positions). A hybrid has the family of its late stages. The family
decides about parts and projector of a pair.
"""


@dataclass(frozen=True)
class Cut:
    """Description of where a network is cut.

    Attributes:
        stages: Names of modules, dotted and relative to the network: four entries, or one string with stages separated
            by ``|``. An entry may list several modules in the order they run; the last one gives the stage's output.
            ``'blocks.*'`` cuts a list of equal blocks. It may also be a function from the network to any of these.
        family: One of ``FAMILIES``, or a function of the network. None: inferred from the modules' names in stage 4.
        size: Image size ``(H, W)`` that the network was built for: the name of its attribute, or a function. None: any.
        classifier: Name of the part of the network that has the classifier. None: the head has it.
        takes_view: Whether the network reshapes its last map with ``view``, which needs NCHW in memory.
        chain: How the modules run one after another. None: the forward is replayed.
    """

    stages: Any
    family: str | Callable[[nn.Module], str] | None = None
    size: str | Callable[[nn.Module], Grid | None] | None = None
    classifier: str | None = None
    takes_view: bool = False
    chain: Chain | None = None

    def modules(self, net: nn.Module) -> list[list[str]]:
        """Return the names of the modules of each stage."""
        stages = self.stages(net) if callable(self.stages) else self.stages
        if isinstance(stages, str) and stages.endswith('.*'):
            blocks = cut_blocks(len(net.get_submodule(stages[:-2])))
            return [[f'{stages[:-1]}{i}' for i in stage] for stage in blocks]
        stages = stages.split('|') if isinstance(stages, str) else stages
        return [stage.split() if isinstance(stage, str) else list(stage) for stage in stages]

    def declared_size(self, net: nn.Module) -> Grid | None:
        """Return the image size that the network was built for, or None if it takes any."""
        return attrgetter(self.size)(net) if isinstance(self.size, str) else self.size and self.size(net)

    def declared_family(self, net: nn.Module) -> str | None:
        """Return the network's family, or None if its modules decide."""
        return self.family(net) if callable(self.family) else self.family


def cut_blocks(depth: int) -> list[range]:
    """Cut equal blocks into four stages, in the proportions 2, 2, 6, 2 of OFA-KD (arXiv 2310.19444)."""
    if depth < 4:
        raise ValueError(f'{depth} blocks cannot be cut into 4 stages')
    short = max(1, round(depth / 6))
    ends = [0, short, 2 * short, depth - short, depth]
    return [range(a, b) for a, b in zip(ends, ends[1:])]


ViewFactory = Callable[..., StageView]
_KNOWN: dict[str, Cut | ViewFactory] = {}


def register_cut(name: str, stages: str | Sequence | Callable, family: str | Callable | None, **options: Any) -> None:
    """Register a :class:`Cut` for a backbone, or for any module that returns logits, by package and class.

    It also applies to subclasses. Example: ``register_cut('my_package.Funnel', 'steps.*', family='cnn')``.

    Examples:
        >>> import torch
        >>> from tas_mm.models import ModuleTeacher, register_cut, view_of
        >>> class Funnel(torch.nn.Sequential):
        ...     pass
        >>> register_cut('tas_mm.Funnel', '0 | 1 | 2 | 3', family='cnn')
        >>> layers = [torch.nn.Conv2d(8 if i else 3, 8, 3, stride=2, padding=1) for i in range(4)]
        >>> net = Funnel(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> [stage.grid for stage in view_of(ModuleTeacher(net), (64, 64)).stages]
        [(32, 32), (16, 16), (8, 8), (4, 4)]
    """
    if isinstance(family, str) and family not in FAMILIES:
        raise ValueError(f'register_cut({name!r}): unknown family {family!r}. Expected one of {", ".join(FAMILIES)}')
    _KNOWN[name] = Cut(stages, family, **options)


def register_view(name: str) -> Callable[[ViewFactory], ViewFactory]:
    """Register a view, or a function from ``(model, input_size, key)`` to a view: ``@register_view('my.Maze')``."""
    return lambda view: _KNOWN.update({name: view}) or view


def names_of(network: nn.Module) -> list[str]:
    """Return package and class of a network and of its base classes."""
    return [f'{cls.__module__.split(".")[0]}.{cls.__name__}' for cls in type(network).__mro__]


def registered(network: nn.Module) -> Cut | ViewFactory | None:
    """Return the cut or view that is registered for a network's class or one of its base classes."""
    return next((_KNOWN[name] for name in names_of(network) if name in _KNOWN), None)


def view_of(
    model: nn.Module,
    input_size: Grid | None = None,
    key: str = 'model',
    feature: str | None = None,
    classes: Sequence[int] | None = None,
) -> StageView:
    """Build the stage view of a classifier or detector; see :class:`StageView`.

    Args:
        model (nn.Module): The network.
        input_size (tuple, optional): Height and width of its images. Defaults to None: the size that it declares.
        key (str): Name of the network in errors. Defaults to ``'model'``.
        feature (str, optional): One of ``FEATURES``. Treats the network as headless. Defaults to None.
        classes (sequence, optional): Indices of the classes whose logits are kept. Defaults to None: all.

    Raises:
        ValueError: If nothing is registered for its backbone, or if it cannot be cut.

    Examples:
        >>> from tas_mm.models import view_of
        >>> from tas_mm.recipes.sources import build_classifier
        >>> view = view_of(build_classifier('timm:resnet18'))
        >>> [(stage.channels, stage.grid) for stage in view.stages]
        [(64, (56, 56)), (128, (28, 28)), (256, (14, 14)), (512, (7, 7))]
        >>> view.family, view.check_tail() < 1e-5
        ('cnn', True)
    """
    view = _build_view(model, input_size, key)
    view.feature_kind = feature
    view.classes = None if classes is None else list(classes)
    return view


def _build_view(model: nn.Module, input_size: Grid | None, key: str) -> StageView:
    backbone = getattr(model, 'backbone', model)
    found = registered(model) or registered(backbone)  # for a detector, either may be registered
    if isinstance(found, Cut):
        return (ChainView if found.chain else TracedView)(model, input_size, key, found)
    if found is not None:
        return found(model, input_size, key)
    name = names_of(backbone)[0]
    near = get_close_matches(name, _KNOWN, n=3, cutoff=0.5)
    raise ValueError(
        f'{key}.backbone: no stage view for {name}. '
        + (f'Closest names: {", ".join(near)}. ' if near else '')
        + f'All: {", ".join(sorted(_KNOWN))}. docs/own_backbone.md shows how to add one'
    )
