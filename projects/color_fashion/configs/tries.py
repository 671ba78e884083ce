"""Tries of RSD's and PKD's losses beside TAS where the teacher is wide, on validation images.

PYTHONPATH=. python tools/benchmark.py projects/color_fashion/configs/tries.py
"""

_base_ = 'suite.py'


def with_rsd(**changes):
    rsd = dict(type='tas_mm.RSDLoss', reads='feature', reduction='mean', **changes)
    return dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher'), terms=dict(rsd=rsd))


pairs = dict(_delete_=True, mobilenetv2_to_vit='projects/color_fashion/configs/mobilenetv2_to_vit.py')
methods = {
    '_delete_': True,
    'alone': None,
    'no RSD': 'tas_mm::_base_/distillers/tas_teacher_first.py',
    'weight 1': with_rsd(kappa=0.64, loss_weight=1.0),
    'weight 3': with_rsd(kappa=0.64, loss_weight=3.0),
    'weight 6.4': with_rsd(kappa=0.64, loss_weight=6.4),
    'tas, best': 'tas_mm::_base_/distillers/tas_best.py',
    'weight 6.4, kappa 0': with_rsd(kappa=0.0, loss_weight=6.4),
    "weight 6.4, the authors' kappa": with_rsd(kappa=0.01 * 1279, loss_weight=6.4),  # divided by the width alone
}
settings = dict(_delete_=True, labels_1000=dict(options=_base_.few))
seeds = 3
evaluate_on = 'val'
compare = 'weight 6.4'
