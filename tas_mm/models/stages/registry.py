"""What is known about networks: cuts and views, by package and class."""

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
"""How a network mixes positions: from neighbors (convolutions, also large ones, and pooling), from everywhere by
content (attention over windows, channels or nearest neighbors in feature space too), from everywhere with fixed weights
(linear layers over positions). The late stages of a hybrid decide. Parts and projector of a pair follow from it.
"""


@dataclass(frozen=True)
class Cut:
    """Where a network is cut.

    Attributes:
        stages: Names of modules, dotted and relative to the network: four entries, or one string with the stages parted
            by ``|``. An entry may list several modules in the order they run; the last gives the stage's output.
            ``'blocks.*'`` cuts a list of equal blocks. A function of the network may return any of these.
        family: One of ``FAMILIES``, or a function of the network. None: the names of the modules in stage 4 decide.
        size: Image size ``(H, W)`` that the network was built for: the name of its attribute, or a function. None: any.
        classifier: Name of the part of the network that has the classifier. None: the head has it.
        takes_view: Whether the network takes a view of its last map, which then has to be in NCHW in memory too.
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
    """Cut equal blocks into four stages as OFA-KD does 12: 2, 2, 6, 2 (arXiv 2310.19444); others in proportion."""
    if depth < 4:
        raise ValueError(f'{depth} blocks cannot be cut into 4 stages')
    short = max(1, round(depth / 6))
    ends = [0, short, 2 * short, depth - short, depth]
    return [range(a, b) for a, b in zip(ends, ends[1:])]


ViewFactory = Callable[..., StageView]
_KNOWN: dict[str, Cut | ViewFactory] = {}


def register_cut(name: str, stages: str | Sequence | Callable, family: str | Callable | None, **options: Any) -> None:
    """Register a :class:`Cut` by package and class of a backbone, or of any module that gives logits.

    It holds for classes that derive from it, too: ``register_cut('my_package.Funnel', 'steps.*', family='cnn')``.
    """
    if isinstance(family, str) and family not in FAMILIES:
        raise ValueError(f'register_cut({name!r}): unknown family {family!r}. Expected one of {", ".join(FAMILIES)}')
    _KNOWN[name] = Cut(stages, family, **options)


def register_view(name: str) -> Callable[[ViewFactory], ViewFactory]:
    """Register a view, or a function that makes one of ``(model, input_size, key)``: ``@register_view('my.Maze')``."""
    return lambda view: _KNOWN.update({name: view}) or view


def names_of(network: nn.Module) -> list[str]:
    """Return package and class of a network, and of the classes that it derives from."""
    return [f'{cls.__module__.split(".")[0]}.{cls.__name__}' for cls in type(network).__mro__]


def registered(network: nn.Module) -> Cut | ViewFactory | None:
    """Return what is registered for a network's class, or for one that it derives from."""
    return next((_KNOWN[name] for name in names_of(network) if name in _KNOWN), None)


def view_of(
    model: nn.Module,
    input_size: Grid | None = None,
    key: str = 'model',
    feature: str | None = None,
    classes: Sequence[int] | None = None,
) -> StageView:
    """Build the stage view of a classifier of MMPretrain or a detector of MMDetection; see :class:`StageView`.

    Args:
        model (nn.Module): The network.
        input_size (tuple, optional): Height and width of its images. Defaults to None: as it declares.
        key (str): Its name in errors. Defaults to ``'model'``.
        feature (str, optional): One of ``FEATURES``: takes the network as headless. Defaults to None.
        classes (sequence, optional): Indices of its classes that the logits are reduced to. Defaults to None: all.

    Raises:
        ValueError: If nothing is registered for its backbone, or it cannot be cut.
    """
    view = _build_view(model, input_size, key)
    view.feature_kind = feature
    view.classes = None if classes is None else list(classes)
    return view


def _build_view(model: nn.Module, input_size: Grid | None, key: str) -> StageView:
    backbone = getattr(model, 'backbone', model)
    found = registered(model) or registered(backbone)  # of a detector both
    if isinstance(found, Cut):
        return (ChainView if found.chain else TracedView)(model, input_size, key, found)
    if found is not None:
        return found(model, input_size, key)
    name = names_of(backbone)[0]
    near = get_close_matches(name, _KNOWN, n=3, cutoff=0.5)
    raise ValueError(
        f'{key}.backbone: no stage view for {name}. '
        + (f'Nearest that have one: {", ".join(near)}. ' if near else '')
        + f'All: {", ".join(sorted(_KNOWN))}. docs/own_backbone.md shows how to add one'
    )
