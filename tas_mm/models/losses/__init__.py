"""Losses between what two networks know, one a file."""

from .info_nce import InfoNCELoss
from .ofa import OFALoss
from .rsd import RSDLoss

__all__ = ['InfoNCELoss', 'OFALoss', 'RSDLoss']
