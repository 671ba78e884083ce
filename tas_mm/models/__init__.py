"""Algorithm, distiller, connectors, losses, stage views and backbones."""

from .algorithms import TAS, DetectorTAS
from .backbones import SwinTransformer
from .connectors import ConvProjector, ExitBranch, HybridAssistant, L2GProjector, LinearProjector
from .distillers import DistillerGroup, PairDistiller, TASDistiller
from .losses import InfoNCELoss, OFALoss, PATLoss, RSDLoss
from .stages import Knowledge, StagedClassifier, stage_view, view_of

__all__ = [
    'TAS',
    'DetectorTAS',
    'ConvProjector',
    'DistillerGroup',
    'ExitBranch',
    'HybridAssistant',
    'InfoNCELoss',
    'Knowledge',
    'L2GProjector',
    'LinearProjector',
    'OFALoss',
    'PATLoss',
    'PairDistiller',
    'RSDLoss',
    'StagedClassifier',
    'SwinTransformer',
    'TASDistiller',
    'stage_view',
    'view_of',
]
