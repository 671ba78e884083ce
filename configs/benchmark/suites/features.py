"""TAS against losses of features that need no labels: Fashion-MNIST, two pairs, three seeds. make benchmark-data first.

The queue has 256 rows, lightly-train's number for 1,000 images.
"""

queue = dict(type='tas_mm.QueueKLLoss', reads='feature', queue_size=256, temperature=0.07)
patches = dict(type='tas_mm.SelfSimilarityLoss', reads='stage4', temperature=0.07, loss_weight=1.0)

options = {  # or an eighth of a step is the optimizer's, one small tensor at a time
    'optim_wrapper.constructor': 'tas_mm.JoinedOptimWrapperConstructor',
    'optim_wrapper.optimizer.fused': True,
}
pairs = {pair: f'tas_mm::benchmark/{pair}.py' for pair in ('vit_to_cnn', 'cnn_to_vit')}
methods = {
    'alone': None,
    'queue': dict(type='tas_mm.PairDistiller', terms=dict(queue=queue)),
    'lightly': dict(type='tas_mm.PairDistiller', terms=dict(queue=queue, patches=patches)),
    **{name: f'tas_mm::_base_/distillers/{name}.py' for name in ('dense', 'unic', 'phis', 'scalekd')},
    'tas, features': dict(type='tas_mm.TASDistiller', logit_loss=None),
    'tas': dict(type='tas_mm.TASDistiller'),
}
settings = dict(labels_1000=dict(options={'train_dataloader.dataset.num_labeled': 1000}))
seeds = 3
compare = 'tas'
seed_keys = ['randomness.seed', 'train_dataloader.dataset.seed']
