"""Runs that cpu.py leaves out for time: more methods, two variants of TAS, and all labels with three times the steps.

python tools/benchmark.py configs/benchmark/suites/cpu_more.py --work-dir work_dirs/benchmark/cpu     # shares its runs
"""

_base_ = 'cpu.py'


def tas(**changes):
    return dict(type='tas_mm.TASDistiller', **changes)


methods = {
    'kd, temperature 4': dict(
        type='tas_mm.PairDistiller', terms=dict(kd=dict(type='mmrazor.KLDivergence', tau=4.0, loss_weight=1.0))
    ),
    'tas with rsd': 'tas_mm::_base_/distillers/tas_rsd.py',
    'tas, teacher first': 'tas_mm::_base_/distillers/tas_teacher_first.py',
    'tas, lean': 'tas_mm::_base_/distillers/tas_lean.py',
    'tas, no teacher to student': tas(paths=dict(TS=0)),
    'tas, no assistant to student': tas(paths=dict(AS=0)),
    'tas, no InfoNCE': tas(feature_loss=None),
    'tas, no OFA': tas(logit_loss=None),
}
settings = dict(
    _delete_=True,
    labels_1000=dict(
        options={'train_dataloader.dataset.num_labeled': 1000},
        methods=[*_base_.methods, 'kd, temperature 4', 'tas with rsd', 'tas, teacher first', 'tas, lean'],
    ),
    labels_55000=dict(methods=['alone', 'kd', 'ofa', 'rsd', 'tas', 'tas, teacher first'], pairs=['vit_to_cnn']),
    labels_55000_long=dict(
        options={'train_cfg.max_iters': 2400, 'train_cfg.val_interval': 2400},
        methods=['alone', 'kd', 'fitnet', 'ofa', 'rsd', 'tas', *list(methods)[1:]],
        pairs=['vit_to_cnn', 'cnn_to_vit'],
    ),
)
