"""Cutting any classifier into four stages and a head; one file a family."""

from . import (  # noqa: F401  (each registers its views)
    branches,
    cnn,
    detectors,
    hybrid,
    mlp,
    module,
    pyramid,
    swin,
    timm,
    vit,
)
from .base import (
    CLASS_TOKENS,
    FAMILIES,
    READINGS,
    STAGES,
    Knowledge,
    Stage,
    StagedClassifier,
    image_channels,
    stage_view,
    view_of,
)
from .module import logits_of

__all__ = [
    'CLASS_TOKENS',
    'FAMILIES',
    'READINGS',
    'STAGES',
    'Knowledge',
    'Stage',
    'StagedClassifier',
    'image_channels',
    'logits_of',
    'stage_view',
    'view_of',
]
