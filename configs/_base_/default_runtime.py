_base_ = 'mmpretrain::_base_/default_runtime.py'

default_hooks = dict(
    checkpoint=dict(type='tas_mm.CheckpointHook', max_keep_ckpts=3, save_best='auto'),
    check_data=dict(type='tas_mm.CheckDataHook'),
    check_finite=dict(type='tas_mm.CheckFiniteHook'),
    check_teacher=dict(type='tas_mm.CheckTeacherHook'),
    seed=dict(type='tas_mm.SeedHook'),
    resume=dict(type='tas_mm.ResumeHook'),
    student=dict(type='tas_mm.StudentHook'),
    teacher=dict(type='tas_mm.TeacherHook'),
    progress_bar=dict(type='tas_mm.ProgressBarHook'),
)
