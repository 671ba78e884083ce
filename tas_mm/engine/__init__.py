"""What runs around the model: validation loop and hooks."""

from .hooks import CheckpointHook, ProgressBarHook, ResumeHook, SeedHook, StudentHook, TeacherHook
from .val_loop import TASValLoop

__all__ = ['CheckpointHook', 'ProgressBarHook', 'ResumeHook', 'SeedHook', 'StudentHook', 'TASValLoop', 'TeacherHook']
