"""Tiles of four aerial photos with boxes around tree crowns, which make_data.py writes, and a recipe for a CPU."""

_base_ = 'mmdet::_base_/default_runtime.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=[0.25, 0.25], direction=['horizontal', 'vertical']),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale_factor=1.0),  # which notes down the factor, for which the detector asks
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
dataset = dict(type='CocoDataset', data_root='data/tree_crowns', metainfo=dict(classes=('tree',)))
train_tiles = dict(dataset, ann_file='annotations/train.json', data_prefix=dict(img='train/'), pipeline=train_pipeline)
without_boxes = dict(train_tiles, pipeline=[step for step in train_pipeline if step['type'] != 'LoadAnnotations'])
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=train_tiles,
)
mixed_dataloader = dict(  # as many tiles with boxes, and as many without beside them
    batch_size=8,
    num_workers=0,
    sampler=dict(type='tas_mm.ShareSampler', shares=(1, 1)),
    dataset=dict(type='ConcatDataset', datasets=[train_tiles, without_boxes]),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset,
        ann_file='annotations/test.json',
        data_prefix=dict(img='test/'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='CocoMetric', ann_file='data/tree_crowns/annotations/test.json', metric='bbox')
test_dataloader = val_dataloader
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=60),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=540, val_interval=540)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=180, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
