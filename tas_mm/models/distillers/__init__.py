"""What makes a pair of networks a distillation."""

from .pair_distiller import PairDistiller
from .tas_distiller import TASDistiller

__all__ = ['PairDistiller', 'TASDistiller']
