"""The rehearsal of the ``gpu`` suite: digits, a teacher with random weights, three steps."""

pairs = dict(vit_to_cnn=dict(config='tas_mm::quickstart/tas.py', options={'model.teacher_ckpt': None}))
methods = dict(alone=None, tas=dict(type='tas_mm.TASDistiller'))
settings = dict(digits=dict(options={'train_cfg.max_epochs': 3, 'train_dataloader.dataset.times': 1}))
seeds = 1
compare = 'tas'
seed_keys = ['randomness.seed', 'train_dataloader.dataset.dataset.seed']
