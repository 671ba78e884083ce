"""CIFAR-100, CNN student: OFA-KD's recipe (arXiv 2310.19444). Batch 1024, on 8 GPUs 128 each."""

_base_ = ['../datasets/cifar100_bs128_224.py', '../default_runtime.py']

optim_wrapper = dict(
    constructor='tas_mm.JoinedOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=2e-3),
    paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))),  # no decay of InfoNCE's scale
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=3, eta_min=1e-3, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict(type='tas_mm.TASValLoop', assistant_interval=10)
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
