"""Data sets and samplers that MMPretrain does not have."""

from .digits import Digits
from .labeled_subset import LabeledSubset
from .share_sampler import ShareSampler

__all__ = ['Digits', 'LabeledSubset', 'ShareSampler']
