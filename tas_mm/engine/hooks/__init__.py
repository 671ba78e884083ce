"""Hooks, one concern a file."""

from .check_data_hook import CheckDataHook
from .check_finite_hook import CheckFiniteHook
from .check_teacher_hook import CheckTeacherHook
from .checkpoint_hook import CheckpointHook
from .progress_bar_hook import ProgressBarHook
from .resume_hook import ResumeHook
from .seed_hook import SeedHook
from .shard_teacher_hook import ShardTeacherHook
from .student_hook import StudentHook
from .teacher_hook import TeacherHook

__all__ = [
    'CheckDataHook',
    'CheckFiniteHook',
    'CheckTeacherHook',
    'CheckpointHook',
    'ProgressBarHook',
    'ResumeHook',
    'SeedHook',
    'ShardTeacherHook',
    'StudentHook',
    'TeacherHook',
]
