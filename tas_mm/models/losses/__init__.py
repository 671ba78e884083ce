"""One loss a file."""

from .info_nce import InfoNCELoss
from .ofa import OFALoss

__all__ = ['InfoNCELoss', 'OFALoss']
