"""Image networks of Hugging Face."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn

from tas_mm.config import type_name

from .base import HUB, NetworkSource, Published


class HuggingFaceSource(NetworkSource):
    """Hugging Face: networks in a ``HuggingFaceClassifier``, or without a head in a ``HuggingFaceBackbone``."""

    name = 'hf'
    wrapper = 'HuggingFaceClassifier'
    backbone = 'HuggingFaceBackbone'
    prefix = 'model.'

    def has(self, name: str) -> bool:
        """Return True if a folder, the cache or the hub has the network's config."""
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(name) is not None
        except (OSError, ValueError):
            return False

    def classifier(self, name: str, num_classes: int, **options: Any) -> dict:
        """Return the config of a classifier, or of the network without a head."""
        if num_classes == 0:
            return dict(type=f'tas_mm.{self.backbone}', model_name=name, pretrained=False, **options)
        # The published head may have other classes.
        options = dict(num_labels=num_classes, ignore_mismatched_sizes=True) | options
        return dict(type=self.wrapper, model_name=name, pretrained=False, **options)

    def published(self, name: str, model: nn.Module) -> Published:
        """Return the weights, and the normalization of the image processor."""
        found = self.image_processor(model)
        normalization = {} if found is None else {key: [255 * value for value in found[key]] for key in ('mean', 'std')}
        # The config has the user's number of classes, so the classes that the head was trained on are not known.
        return Published(dict(pretrained=True), 0, normalization)

    @staticmethod
    def image_processor(model: nn.Module) -> dict[str, Any] | None:
        """Return ``mean`` and ``std`` (0 to 1) of the image processor that is published with a network.

        If there is none, warns that the network's normalization is not known.

        Args:
            model (nn.Module): A classifier.
        """
        inner = getattr(model, 'model', None)
        if not any(cls.__module__.split('.')[0] == 'transformers' for cls in type(inner).__mro__):
            return None
        name = getattr(getattr(inner, 'config', None), '_name_or_path', '')
        try:
            from transformers import AutoImageProcessor

            processor = AutoImageProcessor.from_pretrained(name)
            return dict(mean=processor.image_mean, std=processor.image_std)
        except (AttributeError, ImportError, OSError, ValueError):
            print_log(
                f'model.teacher: no image processor is published with {name!r}, so its mean and std are not known and '
                "the student's are used. Set model.teacher.data_preprocessor=dict(mean=..., std=..., to_rgb=True)",
                logger='current',
                level=logging.WARNING,
            )
            return None

    def reads(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        """List the network's config on the hub and, if pretrained, its weights. A local folder gives nothing."""
        if type_name(config) not in (self.wrapper, self.backbone) or os.path.isdir(config['model_name']):
            return []
        place = HUB + config['model_name']
        files = [('model_name', f'{place}#config.json')]
        return [*files, ('pretrained', place)] if config.get('pretrained') else files

    def resize(self, config: dict, size: int) -> None:
        """Set the field ``image_size`` of the network's config."""
        config['image_size'] = size
