"""Hooks: those of the method, and those that protect any run."""

from .distillation import (
    CheckTeacherHook,
    ExportStudentHook,
    ShardTeacherHook,
    TeacherFingerprintHook,
    WarnWeakAssistantHook,
)
from .runtime import (
    CatchUpValidationHook,
    CheckDataHook,
    CheckFiniteHook,
    CheckpointHook,
    ProgressBarHook,
    SeedHook,
)

__all__ = [
    'CatchUpValidationHook',
    'CheckDataHook',
    'CheckFiniteHook',
    'CheckTeacherHook',
    'CheckpointHook',
    'ExportStudentHook',
    'ProgressBarHook',
    'SeedHook',
    'ShardTeacherHook',
    'TeacherFingerprintHook',
    'WarnWeakAssistantHook',
]
