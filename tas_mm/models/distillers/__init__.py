"""Distillers: the losses between what two networks know."""

from .distiller_group import DistillerGroup
from .interface import Distiller, interface_of
from .pair_distiller import PairDistiller
from .sides import Sides
from .tas_distiller import TASDistiller, three_paths

__all__ = ['Distiller', 'DistillerGroup', 'PairDistiller', 'Sides', 'TASDistiller', 'interface_of', 'three_paths']
