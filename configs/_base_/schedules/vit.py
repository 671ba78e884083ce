"""Transformer or MLP student: OFA-KD's schedule (arXiv 2310.19444). Batch 1024, on 8 GPUs 128 each.

Weight decay spares what MMPretrain's Swin and DeiT spare.
"""

optim_wrapper = dict(
    constructor='tas_mm.JoinedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
            '.relative_position_bias_table': dict(decay_mult=0.0),
            '.alpha': dict(decay_mult=0.0),  # of the affine layers that are ResMLP's norms
            '.beta': dict(decay_mult=0.0),
            'log_scale': dict(decay_mult=0.0),
        },
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=20, eta_min=1e-6, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict(type='tas_mm.TASValLoop', assistant_interval=10)
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
