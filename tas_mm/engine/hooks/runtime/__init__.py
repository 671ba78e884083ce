"""Hooks of any run, with or without a teacher: data, seeds, checkpoints, progress, one concern per file."""

from .catch_up_validation_hook import CatchUpValidationHook
from .check_data_hook import CheckDataHook
from .check_finite_hook import CheckFiniteHook
from .checkpoint_hook import CheckpointHook
from .progress_bar_hook import ProgressBarHook
from .seed_hook import SeedHook

__all__ = [
    'CatchUpValidationHook',
    'CheckDataHook',
    'CheckFiniteHook',
    'CheckpointHook',
    'ProgressBarHook',
    'SeedHook',
]
