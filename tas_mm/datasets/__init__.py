"""Data sets that MMPretrain lacks."""

from .digits import Digits
from .labelled_subset import LabelledSubset

__all__ = ['Digits', 'LabelledSubset']
