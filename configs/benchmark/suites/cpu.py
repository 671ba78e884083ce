"""About an hour on two cores: Fashion-MNIST, six pairs, five seeds. make benchmark-data first."""

PAIRS = ['vit_to_cnn', 'swin_to_cnn', 'mixer_to_cnn', 'cnn_to_vit', 'cnn_to_mixer', 'cnn_to_cnn']

pairs = {pair: f'tas_mm::benchmark/{pair}.py' for pair in PAIRS}
methods = {
    'alone': None,
    **{name: f'tas_mm::_base_/distillers/{name}.py' for name in ('kd', 'fitnet', 'ofa', 'rsd', 'dkd', 'dist', 'rkd')},
    'tas': dict(type='tas_mm.TASDistiller'),
}
settings = dict(
    labels_1000=dict(
        options={'train_dataloader.dataset.num_labelled': 1000},
        methods=['alone', 'kd', 'fitnet', 'ofa', 'rsd', 'tas'],
    ),
    labels_55000=dict(methods=['alone', 'kd', 'ofa', 'rsd', 'tas'], pairs=['vit_to_cnn', 'cnn_to_vit']),
)
seeds = 5
compare = 'tas'
seed_keys = ['randomness.seed', 'train_dataloader.dataset.seed']
