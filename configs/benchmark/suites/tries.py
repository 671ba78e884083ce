"""Tries to choose the best form of TAS, and as many tries for RSD and OFA-KD, on the validation images alone.

python tools/benchmark.py configs/benchmark/suites/tries.py
"""

_base_ = ['cpu.py', '../../_base_/distillers/fitnet.py']

rsd = dict(type='tas_mm.RSDLoss', kappa=0.01, head_ratio=2.0, loss_weight=0.1)
from_teacher = dict(rsd=dict(rsd, reads='feature'))
mean = dict(reduction='mean', kappa=0.64, loss_weight=6.4)  # as tas_best.py
queue = dict(type='tas_mm.QueueKLLoss', queue_size=256, temperature=0.07)
hints = dict(_base_.distiller.terms)  # FitNet's


def tas(late_stages=1, **changes):
    assistant = dict(early='teacher', **({} if late_stages else dict(late_stages=0)))
    return dict(type='tas_mm.TASDistiller', assistant=assistant, **changes)


def rsd_with(**changes):
    return dict(type='tas_mm.PairDistiller', terms=dict(rsd={**rsd, 'reads': 'feature', **changes}))


def with_hints(distiller):
    return dict(distiller, terms={**distiller.get('terms', {}), **hints})


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
    'tas, teacher first, with mean rsd': tas(terms=dict(rsd={**rsd, **mean, 'reads': 'feature'})),
    'tas, lean, with rsd': tas(late_stages=0, terms=from_teacher),
    'tas, rsd for InfoNCE': tas(feature_loss=rsd),
    'tas, with rsd, no TS': tas(terms=from_teacher, paths=dict(TS=0)),
    'tas, queue for InfoNCE': tas(feature_loss=queue),
    'tas, teacher first, with rsd and hints': with_hints(tas(terms=from_teacher)),
    'fitnet': 'tas_mm::_base_/distillers/fitnet.py',
    'rsd': rsd_with(),
    'rsd, weight 0.03': rsd_with(loss_weight=0.03),
    'rsd, weight 0.3': rsd_with(loss_weight=0.3),
    'rsd, weight 1': rsd_with(loss_weight=1.0),
    'rsd, head 4': rsd_with(head_ratio=4.0),
    'rsd, kappa 0.1': rsd_with(kappa=0.1),
    'rsd, with hints': with_hints(rsd_with()),
    'rsd, mean': rsd_with(**mean),
    'rsd, mean, weight 20': rsd_with(**{**mean, 'loss_weight': 20.0}),
    'rsd, head 8': rsd_with(head_ratio=8.0),
    'ofa': ofa_with(),
    'ofa, weight 0.3': ofa_with(loss_weight=0.3),
    'ofa, weight 3': ofa_with(loss_weight=3.0),
    'ofa, gamma 1.5': ofa_with(gamma=1.5),
    'ofa, temperature 2': ofa_with(tau=2.0),
    'ofa, temperature 4': ofa_with(tau=4.0),
    'ofa, with hints': with_hints(ofa_with()),
    'ofa, weight 0.1': ofa_with(loss_weight=0.1),
    'ofa, gamma 1.2': ofa_with(gamma=1.2),
    'ofa, temperature 0.5': ofa_with(tau=0.5),
}
pairs = dict(
    _delete_=True, **{pair: f'tas_mm::benchmark/{pair}.py' for pair in ('vit_to_cnn', 'mixer_to_cnn', 'cnn_to_vit')}
)
with_rsd = ['tas, teacher first, with rsd', 'tas, teacher first, with mean rsd']
last = ['alone', 'fitnet', 'rsd', 'rsd, with hints', *with_rsd]
settings = dict(
    _delete_=True,
    labels_1000=dict(options=_base_.few),
    labels_1000_three_seeds=dict(
        options=_base_.few,
        methods=['alone', 'tas, teacher first', *with_rsd],
        seeds=3,
    ),
    labels_55000_long=dict(options=_base_.long, methods=[*last, 'tas, teacher first, with rsd and hints']),
)
seeds = 1
compare = 'tas, teacher first, with mean rsd'
evaluate_on = 'val'
