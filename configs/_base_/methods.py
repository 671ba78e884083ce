"""The methods that suites of the benchmark compare, in the order of their tables."""

dist = dict(type='mmrazor.DISTLoss', inter_loss_weight=2.0, intra_loss_weight=2.0, tau=1.0, loss_weight=1.0)
methods = {
    'alone': None,
    **{name: f'tas_mm::_base_/distillers/{name}.py' for name in ('kd', 'dkd', 'dist')},
    # the weight of its authors; dist.py has OFA-KD's
    'dist, weight 2': dict(type='tas_mm.PairDistiller', terms=dict(dist=dist)),
    **{name: f'tas_mm::_base_/distillers/{name}.py' for name in ('rkd', 'fitnet', 'pkd', 'ofa', 'rsd', 'scalekd')},
    'tas': dict(type='tas_mm.TASDistiller'),
    'tas, teacher first': 'tas_mm::_base_/distillers/tas_teacher_first.py',
    'tas, lean': 'tas_mm::_base_/distillers/tas_lean.py',
    'tas, best': 'tas_mm::_base_/distillers/tas_best.py',
}
