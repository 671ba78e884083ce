"""Algorithm, teacher, assistant, distillers, losses, stage views and backbones."""

from .algorithms import TAS, DetectorTAS, SegmentorTAS
from .assistant import ConvProjector, CrossAttentionProjector, HybridAssistant, L2GProjector, LinearProjector
from .backbones import SwinTransformer
from .connectors import ExitBranch
from .distillers import DistillerGroup, PairDistiller, TASDistiller, interface_of, three_paths
from .knowledge import Knowledge, Observation
from .losses import (
    CosineSmoothL1Loss,
    DenseLogitLoss,
    DenseMSELoss,
    InfoNCELoss,
    OFALoss,
    QueueKLLoss,
    RSDLoss,
    ScaleKDLoss,
    SelfSimilarityLoss,
)
from .pooling import Pooling
from .regions import DetectorView, SegmentorView
from .stages import Observer, StageView, register_cut, view_of
from .teachers import FrozenTeacher, HuggingFaceBackbone, ModuleTeacher

__all__ = [
    'ConvProjector',
    'CosineSmoothL1Loss',
    'CrossAttentionProjector',
    'DenseLogitLoss',
    'DenseMSELoss',
    'DetectorTAS',
    'DetectorView',
    'DistillerGroup',
    'ExitBranch',
    'FrozenTeacher',
    'HuggingFaceBackbone',
    'HybridAssistant',
    'InfoNCELoss',
    'Knowledge',
    'L2GProjector',
    'LinearProjector',
    'ModuleTeacher',
    'OFALoss',
    'Observation',
    'Observer',
    'PairDistiller',
    'Pooling',
    'QueueKLLoss',
    'RSDLoss',
    'ScaleKDLoss',
    'SegmentorTAS',
    'SegmentorView',
    'SelfSimilarityLoss',
    'StageView',
    'SwinTransformer',
    'TAS',
    'TASDistiller',
    'interface_of',
    'register_cut',
    'three_paths',
    'view_of',
]
