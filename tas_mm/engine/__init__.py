"""What runs around the model: validation loop and hooks."""

from .progress_bar_hook import ProgressBarHook
from .val_loop import TASValLoop

__all__ = ['ProgressBarHook', 'TASValLoop']
