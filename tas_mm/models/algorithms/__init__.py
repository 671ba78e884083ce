"""Algorithms: distillation of classifiers, and inside detectors."""

from .detector_tas import DetectorTAS
from .segmentor_tas import SegmentorTAS
from .tas import TAS

__all__ = ['TAS', 'DetectorTAS', 'SegmentorTAS']
