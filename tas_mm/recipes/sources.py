"""Build networks for the data from ``timm:NAME``, ``mmpretrain:NAME``, ``hf:NAME`` or the path of a config.

The libraries themselves are described in ``tas_mm.models.sources``.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel

from tas_mm.config import read_config
from tas_mm.models.sources import SOURCES, NetworkSource, Published, build_classifier_from, classifier_of, source_of
from tas_mm.models.stages import StageView, view_of

NAMED = ('timm', 'mmpretrain', 'hf')
"""Libraries whose networks are named ``library:NAME``."""
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@dataclass
class Network:
    """Classifier built for the data.

    Attributes:
        name (str): Name, as the user gave it.
        config (dict): Model config, without weights and without a preprocessor.
        view (StageView): View of a model with random weights.
        normalization (dict): Mean and std that its trained weights expect, in 0 to 255.
        published (Published): Its published weights.
        source (NetworkSource): The library that it comes from.
    """

    name: str
    config: dict
    view: StageView
    normalization: dict
    published: Published
    source: NetworkSource


def available(source: str) -> list[str]:
    """List the names of the classifiers that a library has.

    Args:
        source (str): ``'timm'`` or ``'mmpretrain'``.
    """
    return SOURCES[source].names()


def classifier_config(name: str, num_classes: int = 10, **options: Any) -> dict:
    """Return the config of a classifier without trained weights.

    Args:
        name (str): ``'timm:resnet18'`` (``'timm:resnet18.a1_in1k'`` also selects its weights),
            ``'mmpretrain:deit-tiny_4xb256_in1k'``, ``'hf:facebook/dinov2-small'``, or the path of a config. The config
            of a distillation stands for its student.
        num_classes (int): Number of classes. 0 for a network without a head. Defaults to 10.
        **options: Further arguments of a timm network, such as ``img_size``.

    Raises:
        ValueError: If there is no such classifier.

    Examples:
        >>> classifier_config('timm:resnet18', 5)['num_classes']
        5
    """
    library, model = _split(name)
    if library is not None:
        if not library.has(model):
            near = get_close_matches(model, library.names(), n=3, cutoff=0.4)
            nearest = ', '.join(f'{library.name}:{each}' for each in near) or 'none'
            raise ValueError(f'{name!r} is not a classifier of {library.name}. Closest names: {nearest}')
        return library.classifier(model, num_classes, **options)
    if not Path(name).is_file():
        raise ValueError(
            f'{name!r} is not a network. Expected timm:NAME, mmpretrain:NAME, hf:NAME or the path of a config'
        )
    return classifier_of(read_config(name), num_classes)


def build_classifier(name: str, num_classes: int = 10, **options: Any) -> BaseModel:
    """Build a classifier by name, with random weights; see :func:`classifier_config`.

    Examples:
        >>> build_classifier('timm:resnet18', 5).model.fc.out_features
        5
    """
    return build_classifier_from(classifier_config(name, num_classes, **options))


def find_network(name: str, num_classes: int, size: int | None = None, option: str = '--student') -> Network:
    """Build a network for a number of classes and an image size.

    Args:
        name (str): ``timm:NAME``, ``mmpretrain:NAME``, ``hf:NAME`` or the path of a config.
        num_classes (int): Number of classes. 0 for a network without a head.
        size (int, optional): Height and width of the images. Defaults to None: the size that the network declares, or
            224.
        option (str): Option that gave the name, for error messages. Defaults to ``'--student'``.

    Raises:
        ValueError: If there is no such network, or if it cannot take images of that size or be cut.
    """
    library, model = _split(name)
    try:
        config = classifier_config(name, num_classes)
        source = library or source_of(config)
        view = view_of(build_classifier_from(config), (size, size) if size else None, option)
        if size and (view.declared_size() or (size, size)) != (size, size):
            source_of(config).resize(config, size)
            view = view_of(build_classifier_from(config), (size, size), option)
        view.stages  # noqa: B018  (the cut is measured on first use)
    except (ValueError, TypeError, AssertionError, RuntimeError, OSError) as error:
        at = f' with --size {size}' if size else ''
        raise ValueError(f'{option} {name}{at}: {error}') from error
    preprocessor = config.pop('data_preprocessor', None) or {}
    given = {key: list(preprocessor[key]) for key in ('mean', 'std') if preprocessor.get(key) is not None}
    published = library.published(model, view.model) if library else Published()
    return Network(name, config, view, published.normalization or given or IMAGENET, published, source)


def why_no_weights(network: Network) -> str | None:
    """Fetch a network's published weights into its library's cache. If that fails, return the reason.

    Args:
        network (Network): The network.
    """
    if not network.published.weights:
        return 'none are published'
    try:
        network.source.fetch(network.config, network.published.weights)
    except Exception as error:
        return f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'
    return None


def _split(name: str) -> tuple[NetworkSource | None, str]:
    """Split a name into its library and the rest. A path has no library."""
    library, _, model = name.partition(':')
    return (SOURCES[library], model) if library in NAMED and model else (None, name)
