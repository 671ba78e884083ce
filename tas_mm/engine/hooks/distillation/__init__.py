"""Hooks of the method, for teacher, assistant and student, one concern per file."""

from .check_teacher_hook import CheckTeacherHook
from .export_student_hook import ExportStudentHook
from .shard_teacher_hook import ShardTeacherHook
from .teacher_fingerprint_hook import TeacherFingerprintHook
from .warn_weak_assistant_hook import WarnWeakAssistantHook

__all__ = [
    'CheckTeacherHook',
    'ExportStudentHook',
    'ShardTeacherHook',
    'TeacherFingerprintHook',
    'WarnWeakAssistantHook',
]
