"""The assistant and its projectors; early exits."""

from .exit_branch import ExitBranch
from .hybrid_assistant import HybridAssistant
from .projectors import ConvProjector, L2GProjector, LinearProjector

__all__ = ['ConvProjector', 'ExitBranch', 'HybridAssistant', 'L2GProjector', 'LinearProjector']
