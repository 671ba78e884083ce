"""Teachers: built, frozen, normalized, cached, fingerprinted, and hidden from everything that trains or saves."""

from .build import ModuleTeacher, TeacherOptions, build_frozen, build_teacher, published_weights, settle, teacher_config
from .cache import TeacherCache
from .ensemble import TeacherEnsemble
from .huggingface import HuggingFaceBackbone
from .normalization import normalization_for
from .teacher import FrozenTeacher
from .weights import fingerprint, load_weights

__all__ = [
    'FrozenTeacher',
    'HuggingFaceBackbone',
    'ModuleTeacher',
    'TeacherCache',
    'TeacherEnsemble',
    'TeacherOptions',
    'build_frozen',
    'build_teacher',
    'fingerprint',
    'load_weights',
    'normalization_for',
    'published_weights',
    'settle',
    'teacher_config',
]
