"""What runs around the model: validation loop and hooks."""

from .hooks import CheckpointHook, ProgressBarHook, ResumeHook, SeedHook, TeacherHook
from .val_loop import TASValLoop

__all__ = ['CheckpointHook', 'ProgressBarHook', 'ResumeHook', 'SeedHook', 'TASValLoop', 'TeacherHook']
