"""What runs around the model: validation loop and hooks."""

from .hooks import (
    CheckDataHook,
    CheckFiniteHook,
    CheckpointHook,
    CheckTeacherHook,
    ProgressBarHook,
    ResumeHook,
    SeedHook,
    TeacherHook,
)
from .val_loop import TASValLoop

__all__ = [
    'CheckDataHook',
    'CheckFiniteHook',
    'CheckTeacherHook',
    'CheckpointHook',
    'ProgressBarHook',
    'ResumeHook',
    'SeedHook',
    'TASValLoop',
    'TeacherHook',
]
