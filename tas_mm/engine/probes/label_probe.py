"""k-nearest-neighbor and linear classification on frozen features, from a few labeled images.

The votes of neighbors are weighted as in DINO (arXiv 2104.14294): the exponential of the cosine over 0.07, for 20
neighbors.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset

from .probe import Probe

Data = tuple[Tensor, Tensor]
"""Features ``(N, C)`` and labels ``(N, )``."""


def knn_accuracy(train: Data, val: Data, k: int = 20, temperature: float = 0.07) -> float:
    """Return the accuracy in percent of a vote by the nearest training images, by cosine.

    Args:
        train (tuple): Features and labels to search.
        val (tuple): Features and labels to classify.
        k (int): Number of neighbors, at most the number of training images. Defaults to 20.
        temperature (float): A neighbor at cosine c has weight ``exp(c / temperature)``. Defaults to 0.07.

    Examples:
        >>> import torch
        >>> from tas_mm.engine.probes import knn_accuracy
        >>> features, labels = torch.eye(4).repeat(3, 1), torch.arange(4).repeat(3)
        >>> knn_accuracy((features, labels), (2 * features, labels))
        100.0
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(
        min(k, len(train[1])),
        weights=lambda distances: np.exp((1 - distances) / temperature),
        algorithm='brute',
        metric='cosine',
    )
    classifier.fit(*_arrays(train))
    return 100 * float(classifier.score(*_arrays(val)))


def linear_accuracy(train: Data, val: Data, C: float = 1.0, max_iter: int = 1000) -> float:
    """Return the accuracy in percent of a logistic regression on standardized features.

    Args:
        train (tuple): Features and labels to fit.
        val (tuple): Features and labels to classify.
        C (float): Inverse strength of the regularization, as in scikit-learn. Defaults to 1.0.
        max_iter (int): Maximum number of iterations. Defaults to 1000.

    Examples:
        >>> import torch
        >>> from tas_mm.engine.probes import linear_accuracy
        >>> features, labels = torch.eye(4).repeat(3, 1), torch.arange(4).repeat(3)
        >>> linear_accuracy((features, labels), (features, labels))
        100.0
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=max_iter))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        classifier.fit(*_arrays(train))
    return 100 * float(classifier.score(*_arrays(val)))


def _arrays(data: Data) -> tuple[np.ndarray, np.ndarray]:
    return data[0].float().numpy(), data[1].numpy()


class LabelProbe(Probe):
    """k-NN and a linear probe on labeled images, on which no network is trained.

    Args:
        train (dict): Config of the data set to learn from, with the validation pipeline.
        val (dict | Dataset): Config of the data set to classify, or the data set of the validation.
        kinds (sequence): ``'knn'``, ``'linear'`` or both. Defaults to both.
        interval (int): As in :class:`Probe`. Defaults to 1.
        k, temperature (float): Options of :func:`knn_accuracy`.
        C, max_iter (float): Options of :func:`linear_accuracy`.

    Raises:
        ValueError: If a kind is unknown.
        ImportError: If scikit-learn is not installed.
    """

    def __init__(
        self,
        train: dict,
        val: dict | Dataset,
        kinds: Sequence[str] = ('knn', 'linear'),
        interval: int = 1,
        k: int = 20,
        temperature: float = 0.07,
        C: float = 1.0,
        max_iter: int = 1000,
    ) -> None:
        super().__init__('val_cfg.probe', interval)
        options = dict(knn=dict(k=k, temperature=temperature), linear=dict(C=C, max_iter=max_iter))
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        if not kinds or not set(kinds) <= set(options):
            raise ValueError(f'{self.key}.kinds={kinds!r}. Expected one of knn, linear, or both')
        try:
            import sklearn  # noqa: F401
        except ImportError as error:
            raise ImportError(f'{self.key} needs scikit-learn: pip install scikit-learn') from error
        self.kinds = {kind: options[kind] for kind in kinds}
        self.parts = dict(train=_built(train, f'{self.key}.train'), val=_built(val, f'{self.key}.val'))
        self.own = [part for part, given in dict(train=train, val=val).items() if isinstance(given, dict)]

    def datasets(self) -> dict[str, Dataset]:
        """Return the data sets that the probe built."""
        return {f'{self.key}.{part}': self.parts[part] for part in self.own}

    def collect(self, read: Callable[..., Any], roles: Sequence[str]) -> dict[str, tuple[dict[str, Tensor], Tensor]]:
        """Return features by role, and labels, for both parts.

        Raises:
            ValueError: If an image has no label, or if all images to learn from have the same label.
        """
        found = {part: read(dataset, roles) for part, dataset in self.parts.items()}
        for part, (_, labels) in found.items():
            key = f'{self.key}.{part}'
            if labels is None or int(labels.min()) < 0:
                raise ValueError(f'{key}: its data set has images without labels. Expected labeled images')
            if part == 'train' and len(labels.unique()) < 2:
                raise ValueError(f'{key}: all images are of one class. Expected at least 2 classes')
        return found

    def metrics(self, collected: dict[str, tuple[dict[str, Tensor], Tensor]]) -> dict[str, dict[str, float]]:
        """Return accuracies in percent by role, under ``knn/top1`` and ``linear/top1``."""
        accuracy: dict[str, Callable] = dict(knn=knn_accuracy, linear=linear_accuracy)
        metrics: dict[str, dict[str, float]] = {}
        for role in collected['train'][0]:
            data = [(features[role], labels) for features, labels in collected.values()]
            metrics[role] = {f'{kind}/top1': accuracy[kind](*data, **options) for kind, options in self.kinds.items()}
        return metrics


def _built(dataset: dict | Dataset, key: str) -> Dataset:
    if not isinstance(dataset, dict):
        return dataset
    try:
        built = DATASETS.build(dict(dataset))
    except Exception as error:
        raise ValueError(f'{key}: {type(error).__name__}: {error}') from error
    if hasattr(built, 'full_init'):
        built.full_init()
    return built
