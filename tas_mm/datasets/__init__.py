"""Data sets that MMPretrain lacks."""

from .digits import Digits

__all__ = ['Digits']
