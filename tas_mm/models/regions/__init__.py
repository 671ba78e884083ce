"""Views of MMDetection's detectors and MMSegmentation's segmentors: their features belong to regions of an image."""

# ruff: noqa: F401
from .detectors import DetectorView
from .segmentors import SegmentorView
