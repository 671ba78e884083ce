"""TAS at its best without each of its parts, on two directions of Fashion-MNIST with 1,000 labels; some on all six.

python tools/benchmark.py configs/benchmark/suites/ablation.py --work-dir work_dirs/benchmark/cpu     # shares its runs
"""

_base_ = ['cpu.py', '../../_base_/distillers/tas_best.py']

terms = dict(_base_.distiller.terms)  # RSD's


def best(late_stages=1, **changes):
    assistant = dict(early='teacher', **({} if late_stages else dict(late_stages=0)))
    return dict(type='tas_mm.TASDistiller', assistant=assistant, terms=terms, **changes)


methods = {
    '_delete_': True,
    'alone': None,
    'tas, best': 'tas_mm::_base_/distillers/tas_best.py',
    "the paper's order of stages": 'tas_mm::_base_/distillers/tas_rsd.py',
    'no RSD': 'tas_mm::_base_/distillers/tas_teacher_first.py',
    'no late stage': best(late_stages=0),
    'no teacher to student': best(paths=dict(TS=0)),
    'no teacher to assistant': best(paths=dict(TA=0)),
    'no assistant to student': best(paths=dict(AS=0)),
    'no path to student': best(paths=dict(TS=0, AS=0)),
    'no teacher to student, no late stage': best(late_stages=0, paths=dict(TS=0)),
    'no assistant to student, no late stage': best(late_stages=0, paths=dict(AS=0)),
    'no InfoNCE': best(feature_loss=None),
    'no OFA': best(logit_loss=None),
}
on_six_pairs = ['alone', 'tas, best', 'no RSD', 'no late stage', 'no teacher to student', 'no assistant to student']
settings = dict(
    _delete_=True,
    labels_1000=dict(options=_base_.few, pairs=['vit_to_cnn', 'cnn_to_vit']),
    labels_1000_six_pairs=dict(options=_base_.few, methods=on_six_pairs),
)
