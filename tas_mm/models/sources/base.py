"""Interface of a library of networks, and functions that build its classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from tas_mm.config import model_of, with_classes, without_weights

HUB = 'hf-hub:'
"""Prefix of a place on the Hugging Face hub."""


@dataclass(frozen=True)
class Published:
    """Data that a library publishes with one of its networks.

    Attributes:
        weights (dict): Options that load the trained weights, to be merged into the network's config. Empty if none.
        num_classes (int): Number of classes of those weights. 0 if there are none.
        normalization (dict): Mean and std of the images, in 0 to 255. Empty if not published.
    """

    weights: dict[str, Any] = field(default_factory=dict)
    num_classes: int = 0
    normalization: dict[str, list[float]] = field(default_factory=dict)


class NetworkSource:
    """A library of networks. This base class only assumes that its classifiers are MMPretrain's.

    Attributes:
        name (str): Prefix of its networks' names, as in ``timm:resnet18``.
        wrapper (str): Type of MMPretrain's classifier around its networks. Empty for MMPretrain's own.
        prefix (str): Name of the network inside the wrapper, which the library's own files do not use.
    """

    name = ''
    wrapper = ''
    prefix = ''

    def names(self) -> list[str]:
        """List the names of the library's classifiers."""
        return []

    def has(self, name: str) -> bool:
        """Return True if the library has a network of that name."""
        return False

    def classifier(self, name: str, num_classes: int, **options: Any) -> dict:
        """Return the config of a classifier, without trained weights.

        Args:
            name (str): Name of the network in the library.
            num_classes (int): Number of classes. 0 for a network without a head.
            **options: Further arguments of the network, if the library accepts any.
        """
        raise ValueError(f'{name!r} is not a network of {self.name}')

    def published(self, name: str, model: nn.Module) -> Published:
        """Return what is published with a network.

        Args:
            name (str): Name of the network in the library.
            model (nn.Module): The classifier, built from its config.
        """
        return Published()

    def reads(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        """List what building a network loads: key in its config and place; see :func:`weights_read`.

        Args:
            config (Mapping): A model config, of this library or another.
        """
        return []

    def fetch(self, config: dict, weights: dict) -> None:
        """Load published weights once, so that they are in the cache.

        Args:
            config (dict): Config of the classifier.
            weights (dict): As in :class:`Published`.
        """
        build_classifier_from({**config, **weights})

    def resize(self, config: dict, size: int) -> None:
        """Set the image size in the config of a network that is built for one size."""
        config['backbone']['img_size'] = size

    def with_loss(self, config: dict, loss: dict) -> dict:
        """Return the config with a recipe's loss, if the library's networks come without one.

        Args:
            config (dict): Config of the classifier.
            loss (dict): Config of the loss.
        """
        return config

    @contextmanager
    def any_batch_size(self, model: nn.Module) -> Iterator[None]:
        """Make a trace of the model accept any batch size."""
        yield


def classifier_of(config: Config, num_classes: int) -> dict:
    """Return the classifier of a config, or the student of a distillation, without trained weights.

    Args:
        config (Config): Config of a training run.
        num_classes (int): Number of classes to set. 0 for no head.

    Raises:
        ValueError: If the config does not have a model.
    """
    model = model_of(config)
    preprocessor = config.get('data_preprocessor')
    model = model.get('architecture', model)
    if preprocessor:
        model.setdefault('data_preprocessor', preprocessor.to_dict())
    if num_classes == 0 and 'head' in model:
        model['head'] = None
    return with_classes(without_weights(model), num_classes)


def build_classifier_from(config: dict) -> BaseModel:
    """Build a classifier from its config without changing the config.

    Args:
        config (dict): Model config in MMPretrain's scope.
    """
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(deepcopy(config))
