"""Measures of learned features that need no logits: agreement with the teacher, k-NN, and a linear probe."""

from .agreement import AgreementProbe, agreement
from .label_probe import LabelProbe, knn_accuracy, linear_accuracy
from .probe import FeatureReader, Probe, probe_roles

__all__ = [
    'AgreementProbe',
    'FeatureReader',
    'LabelProbe',
    'Probe',
    'agreement',
    'knn_accuracy',
    'linear_accuracy',
    'probe_roles',
]
