_base_ = 'mmpretrain::_base_/default_runtime.py'

default_hooks = dict(
    # of the run
    checkpoint=dict(type='tas_mm.CheckpointHook', max_keep_ckpts=3, save_best='auto'),
    check_data=dict(type='tas_mm.CheckDataHook'),
    check_finite=dict(type='tas_mm.CheckFiniteHook'),
    seed=dict(type='tas_mm.SeedHook'),
    catch_up_validation=dict(type='tas_mm.CatchUpValidationHook'),
    progress_bar=dict(type='tas_mm.ProgressBarHook'),
    # of the method
    check_teacher=dict(type='tas_mm.CheckTeacherHook'),
    teacher_fingerprint=dict(type='tas_mm.TeacherFingerprintHook'),
    warn_weak_assistant=dict(type='tas_mm.WarnWeakAssistantHook'),
    export_student=dict(type='tas_mm.ExportStudentHook'),
)
