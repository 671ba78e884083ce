"""The paper's hybrid assistant: early stages of one network, a projector, late stages and head of the other."""

from .cross_attention import CrossAttentionProjector
from .hybrid_assistant import HybridAssistant, early_role, projector_type
from .projectors import ConvProjector, L2GProjector, LinearProjector

__all__ = [
    'ConvProjector',
    'CrossAttentionProjector',
    'HybridAssistant',
    'L2GProjector',
    'LinearProjector',
    'early_role',
    'projector_type',
]
