"""Perspective-Aware Teaching (PAT, arXiv 2501.08885) as a distiller of tas_mm."""

from .distiller import PATDistiller
from .loss import PATLoss

__all__ = ['PATDistiller', 'PATLoss']
