"""Tries of RSD's loss beside TAS where the teacher is wide, on validation images.

PYTHONPATH=. python tools/benchmark.py projects/color_fashion/configs/tries.py
"""

_base_ = 'suite.py'

heavy = dict(type='tas_mm.RSDLoss', reads='feature', reduction='mean', loss_weight=6.4)
pairs = dict(_delete_=True, mobilenetv2_to_vit='projects/color_fashion/configs/mobilenetv2_to_vit.py')
methods = {
    '_delete_': True,
    'alone': None,
    'no RSD': 'tas_mm::_base_/distillers/tas_teacher_first.py',
    'mean, weight 1': 'tas_mm::_base_/distillers/tas_best.py',
    'mean, weight 6.4': dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher'), terms=dict(rsd=heavy)),
}
settings = dict(_delete_=True, labels_1000=dict(options=_base_.few))
seeds = 1
evaluate_on = 'val'
compare = 'mean, weight 1'
