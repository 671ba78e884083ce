"""One loss a file."""

from .info_nce import InfoNCELoss
from .ofa import OFALoss
from .pat import PATLoss
from .rsd import RSDLoss

__all__ = ['InfoNCELoss', 'OFALoss', 'PATLoss', 'RSDLoss']
