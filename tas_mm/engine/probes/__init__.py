"""Measures of what the networks have learned that need no logits: agreement with the teacher, k-NN, a linear probe."""

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
