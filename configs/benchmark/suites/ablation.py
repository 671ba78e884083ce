"""TAS at its best without each of its parts, on two pairs of Fashion-MNIST with 1,000 labels; some parts on all six.

python tools/benchmark.py configs/benchmark/suites/ablation.py --work-dir work_dirs/benchmark/cpu     # shares its runs
"""

_base_ = 'cpu.py'

terms = dict(_base_.distiller.terms)  # RSD's and PKD's
pkd = {name: term for name, term in terms.items() if name != 'rsd'}


def best(**changes):
    return dict(_base_.distiller, **changes)


methods = {
    '_delete_': True,
    'alone': None,
    'tas, best': 'tas_mm::_base_/distillers/tas_best.py',
    "the paper's order of stages": best(assistant=dict(late_stages=0)),
    'no RSD': best(terms=pkd),
    'no PKD': best(terms=_base_.rsd),
    'neither RSD nor PKD': 'tas_mm::_base_/distillers/tas_lean.py',
    'RSD and PKD alone': dict(type='tas_mm.PairDistiller', terms=terms),
    'with a late stage': best(assistant=dict(early='teacher')),
    'no maps of stage 1': best(terms={name: term for name, term in terms.items() if name != 'map1'}),
    'no TS': best(paths=dict(TS=0)),
    'no TA': best(paths=dict(TA=0)),
    'no AS': best(paths=dict(AS=0)),
    'no TS, no AS': best(paths=dict(TS=0, AS=0)),
    'no InfoNCE': best(feature_loss=None),
    'no OFA': best(logit_loss=None),
}
on_six_pairs = ['alone', 'tas, best', 'no RSD', 'no PKD', 'neither RSD nor PKD', 'RSD and PKD alone', 'no TS', 'no AS']
settings = dict(
    _delete_=True,
    two_pairs=dict(options=_base_.few, pairs=['vit_to_cnn', 'cnn_to_vit']),
    six_pairs=dict(options=_base_.few, methods=on_six_pairs),
    # the path that nobody misses with few labels and steps
    six_pairs_long=dict(options=_base_.long, methods=['alone', 'tas, best', 'no TS']),
)
