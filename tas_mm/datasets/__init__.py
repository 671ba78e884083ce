"""Data sets that MMPretrain does not have."""

from .digits import Digits
from .labeled_subset import LabeledSubset

__all__ = ['Digits', 'LabeledSubset']
