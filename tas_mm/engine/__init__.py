"""Everything around the model: validation loop, hooks, checkpoints, and the groups of the optimizer."""

from . import hooks
from .optim import JoinedOptimWrapperConstructor
from .val_loop import TASValLoop

__all__ = ['JoinedOptimWrapperConstructor', 'TASValLoop', 'hooks']
