"""ImageNet-1K, CNN student: OFA-KD's recipe (arXiv 2310.19444). Batch 512, on 8 GPUs 64 each.

OFA's gamma: the paper takes about 1.1 to 1.5 on ImageNet, larger for weaker teachers, and gives no value for each pair.
The configs keep the loss's own 1.0; model.distiller.logit_loss=dict(type='tas_mm.OFALoss', gamma=1.3) sets another.
"""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64.py', '../default_runtime.py']

optim_wrapper = dict(
    constructor='tas_mm.JoinedOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))),  # no decay of InfoNCE's scale
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=3, convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1),
]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict(type='tas_mm.TASValLoop', assistant_interval=10)
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
