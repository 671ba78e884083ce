"""The tree crowns' student distilled from the teacher: the same crops, steps and schedule as crowns_alone.py.

Make the teacher first: python tools/train.py projects/tree_crowns/configs/crowns_teacher.py
Then: python tools/train.py projects/tree_crowns/configs/crowns_tas.py
"""

_base_ = 'crowns_alone.py'

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher='projects/tree_crowns/configs/crowns_teacher.py',
    teacher_ckpt='work_dirs/crowns_teacher/epoch_5.pth',
    distiller=dict(type='tas_mm.TASDistiller', input_size=80),
)
val_cfg = dict(type='tas_mm.TASValLoop')
