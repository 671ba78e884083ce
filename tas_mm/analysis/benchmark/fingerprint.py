"""Fingerprint of a run: a hash of the parts of its config that decide its result.

Results are kept under their fingerprints, so a fingerprint must not depend on what decides nothing: what is logged,
hooks that only check or report, and the names of classes and options.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mmengine.config import Config

TRAINED = (
    *('model', 'data_preprocessor', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'randomness'),
    *('val_dataloader', 'val_evaluator', 'val_cfg', 'custom_hooks', 'load_from', 'auto_scale_lr', 'sync_bn'),
)
"""Parts of a config that decide a result, besides its hooks."""

NEUTRAL_HOOKS = ('timer', 'logger', 'checkpoint', 'visualization', 'progress_bar', 'warn_weak_assistant')
"""Default hooks that do not decide a result. Add new hooks that only check or report."""

FIRST_NAMES = {
    'tas_mm.LabeledSubset': 'tas_mm.LabelledSubset',
    'catch_up_validation': 'resume',
    'export_student': 'student',
    'num_labeled': 'num_labelled',
    'teacher_fingerprint': 'teacher',
    'tas_mm.CatchUpValidationHook': 'tas_mm.ResumeHook',
    'tas_mm.ExportStudentHook': 'tas_mm.StudentHook',
    'tas_mm.TeacherFingerprintHook': 'tas_mm.TeacherHook',
}
"""Current names to the names that kept results were hashed with. Add renamed classes and options."""


def fingerprint(cfg: Config, **more: Any) -> str:
    """Hash everything that decides the result of a run (SHA-256, 12 hex digits).

    Args:
        cfg (Config): Config of the run.
        **more: Further values that decide it.
    """
    parts = {key: value for key, value in cfg.to_dict().items() if key in TRAINED}
    hooks = {key: hook for key, hook in cfg.get('default_hooks', {}).items() if key not in NEUTRAL_HOOKS}
    named = _with_first_names({**parts, 'default_hooks': hooks, **more})
    text = json.dumps(named, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _with_first_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {FIRST_NAMES.get(key, key): _with_first_names(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_first_names(each) for each in value]
    return FIRST_NAMES.get(value, value) if isinstance(value, str) else value
