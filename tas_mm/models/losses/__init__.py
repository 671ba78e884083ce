"""Losses between what two networks know, one per file."""

from .cosine import CosineSmoothL1Loss
from .dense import DenseMSELoss, SelfSimilarityLoss
from .dense_logit import DenseLogitLoss
from .info_nce import InfoNCELoss
from .ofa import OFALoss
from .queue_kl import QueueKLLoss
from .rsd import RSDLoss
from .scalekd import ScaleKDLoss

__all__ = [
    'CosineSmoothL1Loss',
    'DenseLogitLoss',
    'DenseMSELoss',
    'InfoNCELoss',
    'OFALoss',
    'QueueKLLoss',
    'RSDLoss',
    'ScaleKDLoss',
    'SelfSimilarityLoss',
]
