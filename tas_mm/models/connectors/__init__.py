"""The assistant and its projectors."""

from .hybrid_assistant import HybridAssistant
from .projectors import ConvProjector, L2GProjector, LinearProjector

__all__ = ['ConvProjector', 'HybridAssistant', 'L2GProjector', 'LinearProjector']
