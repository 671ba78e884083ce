"""The student alone, without teacher and tas_mm: its config, its weights, and exports to other forms."""

from .config import components, student_config, student_model, warn_of_components
from .weights import build_student, read_student, student_checkpoint, student_path, student_weights

__all__ = [
    'build_student',
    'components',
    'read_student',
    'student_checkpoint',
    'student_config',
    'student_model',
    'student_path',
    'student_weights',
    'warn_of_components',
]
