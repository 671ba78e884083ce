"""Tries of RSD's loss beside TAS where the teacher is wide, on validation images.

PYTHONPATH=. python tools/benchmark.py projects/color_fashion/configs/tries.py
"""

_base_ = 'suite.py'

rsd = dict(type='tas_mm.RSDLoss', reads='feature', kappa=0.01, head_ratio=2.0, reduction='mean')


def with_rsd(weight):
    terms = dict(rsd=dict(rsd, loss_weight=weight))
    return dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher'), terms=terms)


pairs = dict(_delete_=True, mobilenetv2_to_vit='projects/color_fashion/configs/mobilenetv2_to_vit.py')
methods = {
    '_delete_': True,
    'alone': None,
    'no RSD': 'tas_mm::_base_/distillers/tas_teacher_first.py',
    'mean, weight 1': with_rsd(1.0),
    'mean, weight 6.4': with_rsd(6.4),
}
settings = dict(_delete_=True, labels_1000=dict(options=_base_.few))
seeds = 1
evaluate_on = 'val'
compare = 'mean, weight 1'
