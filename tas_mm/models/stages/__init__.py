"""Cutting any classifier into four stages and a head; one file a family."""

from . import branches, cnn, detectors, hybrid, mlp, pyramid, swin, timm, vit  # noqa: F401  (each registers its views)
from .base import CLASS_TOKENS, FAMILIES, READINGS, STAGES, Knowledge, Stage, StagedClassifier, stage_view, view_of

__all__ = [
    'CLASS_TOKENS',
    'FAMILIES',
    'READINGS',
    'STAGES',
    'Knowledge',
    'Stage',
    'StagedClassifier',
    'stage_view',
    'view_of',
]
