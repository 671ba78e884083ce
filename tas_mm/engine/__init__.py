"""What runs around the model: validation loop and hooks."""

from . import hooks
from .val_loop import TASValLoop

__all__ = ['TASValLoop', 'hooks']
