"""Hugging Face's image classifiers."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.logging import print_log
from torch import nn

from .base import NetworkSource


class HuggingFaceSource(NetworkSource):
    """Hugging Face's image classifiers, which configs name by ``HuggingFaceClassifier``."""

    name = 'huggingface'
    wrapper = 'HuggingFaceClassifier'
    prefix = 'model.'

    @staticmethod
    def image_processor(model: nn.Module) -> dict[str, Any] | None:
        """Return ``mean`` and ``std`` in 0 to 1 of the image processor that is published with a network.

        Without one, a warning says that the network's normalization is not known.

        Args:
            model (nn.Module): A classifier.
        """
        if not any(cls.__name__ == HuggingFaceSource.wrapper for cls in type(model).__mro__):
            return None
        name = getattr(getattr(model.model, 'config', None), '_name_or_path', '')
        try:
            from transformers import AutoImageProcessor

            processor = AutoImageProcessor.from_pretrained(name)
            return dict(mean=processor.image_mean, std=processor.image_std)
        except (AttributeError, ImportError, OSError, ValueError):
            print_log(
                f'model.teacher: no image processor is published with {name!r}, so its mean and std are not known and '
                "the student's are taken. Set model.teacher.data_preprocessor=dict(mean=..., std=..., to_rgb=True)",
                logger='current',
                level=logging.WARNING,
            )
            return None

    def resize(self, config: dict, size: int) -> None:
        """Set the field ``image_size`` of the network's config."""
        config['image_size'] = size
