"""Fashion-MNIST, six pairs, all methods, at four budgets of labels and steps. make benchmark-data first.

python tools/benchmark.py configs/benchmark/suites/cpu.py --known docs/benchmark/cpu.jsonl --only labels_1000/
"""

_base_ = ['../../_base_/methods.py', '../../_base_/distillers/tas_best.py']

PAIRS = ['vit_to_cnn', 'swin_to_cnn', 'mixer_to_cnn', 'cnn_to_vit', 'cnn_to_mixer', 'cnn_to_cnn']
few = {'train_dataloader.dataset.num_labeled': 1000}
long = {'train_cfg.max_iters': 2400, 'train_cfg.val_interval': 2400}
longest = {'train_cfg.max_iters': 7200, 'train_cfg.val_interval': 7200}

options = {  # or an eighth of a step is the optimizer's, one small tensor at a time
    'optim_wrapper.constructor': 'tas_mm.JoinedOptimWrapperConstructor',
    'optim_wrapper.optimizer.fused': True,
}
rsd = dict(rsd=_base_.distiller.terms.rsd)
methods = {'tas, teacher first, rsd': dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher'), terms=rsd)}
pairs = {pair: f'tas_mm::benchmark/{pair}.py' for pair in PAIRS}
settings = dict(
    labels_1000=dict(options=few, seeds=5),
    labels_55000=dict(),
    labels_1000_long=dict(options={**few, **long}),
    labels_55000_long=dict(options=long),
    labels_55000_longest=dict(
        options=longest, methods=['alone', 'ofa', 'rsd', 'tas, best'], pairs=['vit_to_cnn', 'cnn_to_vit']
    ),
)
seeds = 3
compare = 'tas, best'
seed_keys = ['randomness.seed', 'train_dataloader.dataset.seed']
