"""Hooks, one concern a file."""

from .checkpoint_hook import CheckpointHook
from .progress_bar_hook import ProgressBarHook
from .resume_hook import ResumeHook
from .seed_hook import SeedHook
from .student_hook import StudentHook
from .teacher_hook import TeacherHook

__all__ = ['CheckpointHook', 'ProgressBarHook', 'ResumeHook', 'SeedHook', 'StudentHook', 'TeacherHook']
