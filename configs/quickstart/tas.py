"""The quickstart's student distilled from the teacher: the same labels, steps and schedule as student.py.

Make the teacher first: python tools/train.py configs/quickstart/teacher.py --work-dir work_dirs/quickstart/teacher
"""

_base_ = 'student.py'

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher='tas_mm::quickstart/teacher.py',
    teacher_ckpt='work_dirs/quickstart/teacher/epoch_24.pth',
    distiller=dict(type='tas_mm.TASDistiller'),
)
val_cfg = dict(type='tas_mm.TASValLoop')
