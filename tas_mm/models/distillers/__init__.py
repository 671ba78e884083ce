"""What makes a pair of networks a distillation."""

from .distiller_group import DistillerGroup
from .pair_distiller import PairDistiller
from .tas_distiller import TASDistiller

__all__ = ['DistillerGroup', 'PairDistiller', 'TASDistiller']
