"""Hooks for distillation inside a detector or a segmentor, beside its toolbox's: default_hooks = _base_.tas_hooks."""

tas_hooks = dict(
    checkpoint=dict(type='tas_mm.CheckpointHook'),
    check_finite=dict(type='tas_mm.CheckFiniteHook'),
    seed=dict(type='tas_mm.SeedHook'),
    catch_up_validation=dict(type='tas_mm.CatchUpValidationHook'),
    teacher_fingerprint=dict(type='tas_mm.TeacherFingerprintHook'),
    export_student=dict(type='tas_mm.ExportStudentHook'),
)
