"""Schedule of what trains a backbone before a detector does: as many steps with labels as without."""

_base_ = '../../../../configs/_base_/default_runtime.py'

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(log_scale=dict(decay_mult=0.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100),
]
train_cfg = dict(by_epoch=False, max_iters=2000, val_interval=1000)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1, save_best=None))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
