"""About an hour on two cores: Fashion-MNIST, six pairs, five seeds. make benchmark-data first."""

_base_ = '../../_base_/methods.py'

PAIRS = ['vit_to_cnn', 'swin_to_cnn', 'mixer_to_cnn', 'cnn_to_vit', 'cnn_to_mixer', 'cnn_to_cnn']

options = {  # or an eighth of a step is the optimizer's, one small tensor at a time
    'optim_wrapper.constructor': 'tas_mm.JoinedOptimWrapperConstructor',
    'optim_wrapper.optimizer.fused': True,
}
pairs = {pair: f'tas_mm::benchmark/{pair}.py' for pair in PAIRS}
settings = dict(
    labels_1000=dict(
        options={'train_dataloader.dataset.num_labeled': 1000},
        methods=['alone', 'kd', 'fitnet', 'ofa', 'rsd', 'tas'],
    ),
    labels_55000=dict(methods=['alone', 'kd', 'ofa', 'rsd', 'tas'], pairs=['vit_to_cnn', 'cnn_to_vit']),
)
seeds = 5
compare = 'tas'
seed_keys = ['randomness.seed', 'train_dataloader.dataset.seed']
