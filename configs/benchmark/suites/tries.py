"""Tries to choose the best form of TAS, and as many tries for RSD and OFA-KD, on the validation images alone.

python tools/benchmark.py configs/benchmark/suites/tries.py
"""

_base_ = 'cpu.py'

rsd = dict(type='tas_mm.RSDLoss', kappa=0.01, head_ratio=2.0, loss_weight=0.1)
from_teacher = dict(rsd=dict(rsd, reads='feature'))
mean = dict(_base_.distiller.terms.rsd)
mean_rsd = dict(rsd=dict(rsd, **mean))
pkd = {f'map{i}': dict(_base_.distiller.terms.map4, reads=f'stage{i}') for i in range(1, 5)}
later = {name: pkd[name] for name in ('map2', 'map3', 'map4')}
last = {name: pkd[name] for name in ('map3', 'map4')}
queue = dict(type='tas_mm.QueueKLLoss', queue_size=256, temperature=0.07)
hint = dict(type='mmrazor.L2Loss', normalize=False, div_element=True)  # FitNet's
hints = {f'hint{i}': dict(pkd[f'map{i}'], **hint) for i in range(1, 5)}


def tas(late_stages=1, **changes):
    assistant = dict(early='teacher', **({} if late_stages else dict(late_stages=0)))
    return dict(type='tas_mm.TASDistiller', assistant=assistant, **changes)


def rsd_with(**changes):
    return dict(type='tas_mm.PairDistiller', terms=dict(rsd={**rsd, 'reads': 'feature', **changes}))


def add(terms, distiller):
    return dict(distiller, terms={**distiller.get('terms', {}), **terms})


def ofa_with(**changes):
    ofa = {'type': 'tas_mm.OFALoss', 'gamma': 1.0, 'tau': 1.0, 'loss_weight': 1.0, **changes}
    exits = {
        f'exit{i}': dict(ofa, reads=dict(student=f'stage{i}'), connector=dict(type='tas_mm.ExitBranch'))
        for i in range(1, 5)
    }
    return dict(type='tas_mm.PairDistiller', terms=dict(logits=ofa, **exits))


methods = {
    '_delete_': True,
    'alone': None,
    'tas, teacher first': tas(),
    'tas, teacher first, with rsd': tas(terms=from_teacher),
    'tas, teacher first, with mean rsd': tas(terms=mean_rsd),
    'tas, teacher first, with mean rsd, no TS': tas(terms=mean_rsd, paths=dict(TS=0)),
    'tas, teacher first, with mean rsd and hints': tas(terms={**mean_rsd, **hints}),
    'tas, teacher first, with hints': tas(terms=hints),
    'tas, teacher first, with pkd': tas(terms=pkd),
    'tas, teacher first, with mean rsd and pkd': tas(terms={**mean_rsd, **pkd}),
    'tas, teacher first, with mean rsd and pkd after stages 2 to 4': tas(terms={**mean_rsd, **later}),
    'tas, teacher first, with mean rsd and pkd after stages 3 and 4': tas(terms={**mean_rsd, **last}),
    'tas, lean, with mean rsd and pkd': tas(late_stages=0, terms={**mean_rsd, **pkd}),
    'tas, best': 'tas_mm::_base_/distillers/tas_best.py',  # lean, with mean rsd and pkd after stages 2 to 4
    'tas, lean, with rsd': tas(late_stages=0, terms=from_teacher),
    'tas, rsd for InfoNCE': tas(feature_loss=rsd),
    'tas, with rsd, no TS': tas(terms=from_teacher, paths=dict(TS=0)),
    'tas, queue for InfoNCE': tas(feature_loss=queue),
    'tas, teacher first, with rsd and hints': add(hints, tas(terms=from_teacher)),
    'fitnet': 'tas_mm::_base_/distillers/fitnet.py',
    'pkd': 'tas_mm::_base_/distillers/pkd.py',
    'rsd': rsd_with(),
    'rsd, weight 0.03': rsd_with(loss_weight=0.03),
    'rsd, weight 0.3': rsd_with(loss_weight=0.3),
    'rsd, weight 1': rsd_with(loss_weight=1.0),
    'rsd, head 4': rsd_with(head_ratio=4.0),
    'rsd, kappa 0.1': rsd_with(kappa=0.1),
    'rsd, with hints': add(hints, rsd_with()),
    'rsd, mean': rsd_with(**mean),
    'rsd, mean, weight 20': rsd_with(**{**mean, 'loss_weight': 20.0}),
    'rsd, head 8': rsd_with(head_ratio=8.0),
    'rsd, with pkd': add(pkd, rsd_with()),
    'ofa': ofa_with(),
    'ofa, weight 0.3': ofa_with(loss_weight=0.3),
    'ofa, weight 3': ofa_with(loss_weight=3.0),
    'ofa, gamma 1.5': ofa_with(gamma=1.5),
    'ofa, temperature 2': ofa_with(tau=2.0),
    'ofa, temperature 4': ofa_with(tau=4.0),
    'ofa, with hints': add(hints, ofa_with()),
    'ofa, weight 0.1': ofa_with(loss_weight=0.1),
    'ofa, gamma 1.2': ofa_with(gamma=1.2),
    'ofa, temperature 0.5': ofa_with(tau=0.5),
    'ofa, with pkd': add(pkd, ofa_with()),
}
three = ['vit_to_cnn', 'mixer_to_cnn', 'cnn_to_vit']
pairs = dict(_delete_=True, **{pair: f'tas_mm::benchmark/{pair}.py' for pair in ('swin_to_cnn', *three)})
with_sum, with_mean = 'tas, teacher first, with rsd', 'tas, teacher first, with mean rsd'
settings = dict(
    _delete_=True,
    labels_1000=dict(options=_base_.few, pairs=three, seeds=1),
    labels_1000_three_seeds=dict(
        options=_base_.few,
        methods=['alone', 'tas, teacher first', with_sum, with_mean, f'{with_mean}, no TS'],
        pairs=three,
    ),
    labels_1000_four_pairs=dict(
        options=_base_.few,
        methods=['alone', with_mean, f'{with_mean} and hints', f'{with_mean} and pkd', 'tas, best'],
    ),
    labels_55000_long=dict(
        options=_base_.long,
        methods=['alone', 'fitnet', 'rsd', 'rsd, with hints', with_sum, with_mean, f'{with_sum} and hints'],
        pairs=three,
        seeds=1,
    ),
    labels_55000_long_three_seeds=dict(
        options=_base_.long, methods=['alone', with_mean, f'{with_mean}, no TS'], pairs=three
    ),
)
seeds = 3
compare = 'tas, best'
evaluate_on = 'val'
