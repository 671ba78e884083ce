"""What cpu.py leaves out for time: four more methods, TAS with RSD's term, and all labels with three times the steps.

python tools/benchmark.py configs/benchmark/suites/cpu_more.py --work-dir work_dirs/benchmark/cpu     # shares its runs
"""

_base_ = 'cpu.py'

methods = {
    'kd, temperature 4': dict(
        type='tas_mm.PairDistiller', terms=dict(kd=dict(type='mmrazor.KLDivergence', tau=4.0, loss_weight=1.0))
    ),
    'tas with rsd': 'tas_mm::_base_/distillers/tas_rsd.py',
}
settings = dict(
    _delete_=True,
    labels_1000=dict(options={'train_dataloader.dataset.num_labelled': 1000}),
    labels_55000_long=dict(
        options={'train_cfg.max_iters': 2400, 'train_cfg.val_interval': 2400},
        methods=['alone', 'kd', 'fitnet', 'ofa', 'rsd', 'tas'],
        pairs=['vit_to_cnn', 'cnn_to_vit'],
    ),
)
