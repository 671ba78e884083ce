"""What runs around the model: validation loop and hooks."""

from .hooks import ProgressBarHook
from .val_loop import TASValLoop

__all__ = ['ProgressBarHook', 'TASValLoop']
