"""MMPretrain's own networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..loading import read_checkpoint
from .base import NetworkSource, Published, classifier_of


class MMPretrainSource(NetworkSource):
    """MMPretrain's own networks."""

    name = 'mmpretrain'

    def names(self) -> list[str]:
        """List MMPretrain's image classifiers."""
        from mmpretrain import list_models

        return list_models(task='Image Classification')

    def has(self, name: str) -> bool:
        """Return True if MMPretrain's index has the name."""
        from mmpretrain import list_models

        return name in list_models()

    def classifier(self, name: str, num_classes: int, **options: Any) -> dict:
        """Return the config from MMPretrain's index."""
        from mmpretrain.apis.model import ModelHub

        return classifier_of(ModelHub.get(name).config, num_classes)

    def published(self, name: str, model: nn.Module) -> Published:
        """Return the weights and normalization that MMPretrain's index lists."""
        from mmpretrain.apis.model import ModelHub

        found = ModelHub.get(name)
        if not found.weights:
            return Published()
        weights = dict(init_cfg=dict(type='Pretrained', checkpoint=found.weights))
        return Published(weights, _first_num_classes(found.config.model))

    def fetch(self, config: dict, weights: dict) -> None:
        """Download the checkpoint."""
        read_checkpoint(weights['init_cfg']['checkpoint'])

    @contextmanager
    def any_batch_size(self, model: nn.Module) -> Iterator[None]:
        """Join Swin's windows without the batch size, which a trace would record as a constant."""
        from mmpretrain.models.utils.attention import ShiftWindowMSA

        def window_reverse(windows: Tensor, height: int, width: int, side: int) -> Tensor:
            x = windows.view(-1, height // side, width // side, side, side, windows.shape[-1])
            return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])

        attentions = [module for module in model.modules() if isinstance(module, ShiftWindowMSA)]
        for attention in attentions:
            attention.window_reverse = window_reverse  # for this model only
        try:
            yield
        finally:
            for attention in attentions:
                del attention.window_reverse


def _first_num_classes(model: Any) -> int:
    """Return the first ``num_classes`` in a model config, or 0."""
    if isinstance(model, Mapping):
        return model.get('num_classes') or max((_first_num_classes(value) for value in model.values()), default=0)
    return 0
