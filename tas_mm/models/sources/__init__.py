"""Libraries that networks come from, and how they differ inside MMPretrain's classifiers.

Apart from the stage views, this is the only place that knows libraries by name: how a config names one of their
networks, where its trained weights and normalization are, and how its weights are named.
"""

from collections.abc import Mapping
from typing import Any

from tas_mm.config import type_name

from .base import NetworkSource, Published, build_classifier_from, classifier_of
from .huggingface import HuggingFaceSource
from .mmpretrain import MMPretrainSource
from .places import weights_read, why_missing, why_unreachable
from .timm import TimmSource

__all__ = [
    'HUGGING_FACE',
    'MMPRETRAIN',
    'SOURCES',
    'TIMM',
    'HuggingFaceSource',
    'MMPretrainSource',
    'NetworkSource',
    'Published',
    'TimmSource',
    'build_classifier_from',
    'classifier_of',
    'source_of',
    'weights_read',
    'why_missing',
    'why_unreachable',
]

TIMM, MMPRETRAIN, HUGGING_FACE = TimmSource(), MMPretrainSource(), HuggingFaceSource()
SOURCES: dict[str, NetworkSource] = {source.name: source for source in (TIMM, MMPRETRAIN, HUGGING_FACE)}


def source_of(config: Mapping[str, Any]) -> NetworkSource:
    """Return the library of a classifier from its config.

    Args:
        config (Mapping): Model config.
    """
    kinds = [type_name(part) for part in (config, config.get('backbone') or {})]
    if TIMM.wrapper in kinds or TIMM.backbone in kinds:
        return TIMM
    return HUGGING_FACE if {HUGGING_FACE.wrapper, HUGGING_FACE.backbone} & {*kinds} else MMPRETRAIN
