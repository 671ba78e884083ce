"""Tries to choose the best form of TAS, and as many tries for RSD and OFA-KD, on the validation images alone.

python tools/benchmark.py configs/benchmark/suites/tries.py
"""

_base_ = 'cpu.py'

rsd = dict(type='tas_mm.RSDLoss', kappa=0.01, head_ratio=2.0, loss_weight=0.1)
from_teacher = dict(rsd=dict(rsd, reads='feature'))
mean = dict(_base_.distiller.terms.rsd)
mean_rsd = dict(rsd=dict(rsd, **mean))
pkd = {f'map{i}': dict(_base_.distiller.terms.map4, reads=f'stage{i}', loss_weight=1.0) for i in range(1, 5)}
later = {name: pkd[name] for name in ('map2', 'map3', 'map4')}
last = {name: pkd[name] for name in ('map3', 'map4')}
queue = dict(type='tas_mm.QueueKLLoss', queue_size=256, temperature=0.07)
hint = dict(type='mmrazor.L2Loss', normalize=False, div_element=True)  # FitNet's
hints = {f'hint{i}': dict(pkd[f'map{i}'], **hint) for i in range(1, 5)}


def tas(late_stages=1, **changes):
    assistant = dict(early='teacher', **({} if late_stages else dict(late_stages=0)))
    return dict(type='tas_mm.TASDistiller', assistant=assistant, **changes)


def best(**changes):
    return dict(_base_.distiller, **changes)


def weigh(weight, maps):
    return {name: dict(term, loss_weight=weight) for name, term in maps.items()}


def lean_with(maps):
    return best(terms=dict(rsd=_base_.distiller.terms.rsd, **maps))


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
    'tas, lean, with mean rsd and pkd after stages 2 to 4': lean_with(later),  # called best before
    'tas, lean, with mean rsd and pkd of weight 3 after stages 2 to 4': lean_with(weigh(3.0, later)),
    'tas, lean, with mean rsd and pkd of weight 6 after stages 2 to 4': lean_with(weigh(6.0, later)),
    'tas, best': 'tas_mm::_base_/distillers/tas_best.py',  # lean, with mean rsd and pkd of weight 6
    'tas, best, no AS': best(paths=dict(AS=0)),
    'tas, best, half of TS and AS': best(paths=dict(TS=0.5, AS=0.5)),
    'tas, best, dist for ofa': best(logit_loss=_base_.dist),
    'tas, best, dist for ofa, half of TS and AS': best(logit_loss=_base_.dist, paths=dict(TS=0.5, AS=0.5)),
    'tas, best, dist for ofa, a quarter of TS and AS': best(logit_loss=_base_.dist, paths=dict(TS=0.25, AS=0.25)),
    "best's RSD and PKD alone": dict(type='tas_mm.PairDistiller', terms=dict(_base_.distiller.terms)),
    "best's RSD and PKD, with dist": dict(
        type='tas_mm.PairDistiller', terms=dict(_base_.distiller.terms, dist=dict(_base_.dist))
    ),
    'tas, lean, with rsd': tas(late_stages=0, terms=from_teacher),
    'tas, rsd for InfoNCE': tas(feature_loss=rsd),
    'tas, with rsd, no TS': tas(terms=from_teacher, paths=dict(TS=0)),
    'tas, queue for InfoNCE': tas(feature_loss=queue),
    'tas, teacher first, with rsd and hints': add(hints, tas(terms=from_teacher)),
    'fitnet': 'tas_mm::_base_/distillers/fitnet.py',
    'pkd': 'tas_mm::_base_/distillers/pkd.py',  # with its authors' weight, 6
    'pkd, weight 1': dict(type='tas_mm.PairDistiller', terms=pkd),
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
    'rsd, with pkd of weight 6': add(weigh(6.0, pkd), rsd_with()),
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
    'ofa, with pkd of weight 6': add(weigh(6.0, pkd), ofa_with()),
}
three = ['vit_to_cnn', 'mixer_to_cnn', 'cnn_to_vit']
four = ['swin_to_cnn', *three]
pairs = dict(_delete_=True, **{pair: f'tas_mm::benchmark/{pair}.py' for pair in (*four, 'cnn_to_mixer', 'cnn_to_cnn')})
with_sum, with_mean = 'tas, teacher first, with rsd', 'tas, teacher first, with mean rsd'
WEIGHTS = [name for name in methods if name.startswith('tas, lean') and name.endswith('after stages 2 to 4')]
OF_BEST = [name for name in methods if name.startswith(('tas, best, ', "best's RSD")) and 'no AS' not in name]
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
        methods=['alone', with_mean, f'{with_mean} and hints', f'{with_mean} and pkd', *WEIGHTS, 'tas, best', 'pkd'],
        pairs=four,
    ),
    labels_1000_six_pairs=dict(options=_base_.few, methods=['alone', 'pkd', 'tas, best', *OF_BEST]),
    labels_55000_long=dict(
        options=_base_.long,
        methods=['alone', 'fitnet', 'rsd', 'rsd, with hints', with_sum, with_mean, f'{with_sum} and hints'],
        pairs=three,
        seeds=1,
    ),
    labels_55000_long_three_seeds=dict(
        options=_base_.long, methods=['alone', with_mean, f'{with_mean}, no TS'], pairs=three
    ),
    # why RSD is ahead here
    labels_55000_longest=dict(
        options=_base_.longest,
        methods=['alone', 'rsd', 'tas, best', 'tas, best, no AS', "best's RSD and PKD alone"],
        pairs=['vit_to_cnn'],
        seeds=1,
    ),
)
seeds = 3
compare = 'tas, best'
evaluate_on = 'val'
