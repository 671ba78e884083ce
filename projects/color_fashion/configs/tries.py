"""Tries of RSD's and PKD's losses beside TAS where the teacher is wide, on validation images.

PYTHONPATH=. python tools/benchmark.py projects/color_fashion/configs/tries.py
"""

_base_ = 'suite.py'


def with_rsd(**changes):
    rsd = dict(type='tas_mm.RSDLoss', reads='feature', reduction='mean', **changes)
    return dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher'), terms=dict(rsd=rsd))


terms = dict(_base_.distiller.terms)


def maps(weight, *stages):
    return {f'map{i}': dict(terms[f'map{i}'], loss_weight=weight) for i in stages}


def with_maps(weight, *stages):
    return dict(_base_.distiller, terms=dict(rsd=terms['rsd'], **maps(weight, *stages)))


of_rsd = {
    'no RSD': 'tas_mm::_base_/distillers/tas_teacher_first.py',
    'weight 1': with_rsd(kappa=0.64, loss_weight=1.0),
    'weight 3': with_rsd(kappa=0.64, loss_weight=3.0),
    'weight 6.4': with_rsd(kappa=0.64, loss_weight=6.4),
    'weight 6.4, kappa 0': with_rsd(kappa=0.0, loss_weight=6.4),
    "weight 6.4, the authors' kappa": with_rsd(kappa=0.01 * 1279, loss_weight=6.4),  # divided by the width alone
}
of_pkd = {
    'pkd': 'tas_mm::_base_/distillers/pkd.py',  # with its authors' weight, 6
    'pkd, weight 1': dict(type='tas_mm.PairDistiller', terms=maps(1.0, 1, 2, 3, 4)),
    'maps of stages 2 to 4, weight 1': with_maps(1.0, 2, 3, 4),
    'maps of stages 2 to 4, weight 3': with_maps(3.0, 2, 3, 4),
    'maps of stages 2 to 4, weight 6': with_maps(6.0, 2, 3, 4),
    'maps, weight 1': with_maps(1.0, 1, 2, 3, 4),
    'no TAS, maps of stages 2 to 4, weight 6': dict(
        type='tas_mm.PairDistiller', terms=dict(rsd=terms['rsd'], **maps(6.0, 2, 3, 4))
    ),
}
beside = {'alone': None, 'tas, best': 'tas_mm::_base_/distillers/tas_best.py'}
methods = {'_delete_': True, **beside, **of_rsd, **of_pkd}
settings = dict(
    _delete_=True,
    labels_1000=dict(options=_base_.few, methods=[*beside, *of_rsd], pairs=['mobilenetv2_to_vit']),
    labels_1000_pkd=dict(options=_base_.few, methods=[*beside, *of_pkd], seeds=2),
)
seeds = 3
evaluate_on = 'val'
compare = 'weight 6.4'
