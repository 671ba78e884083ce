"""Crops without labels, at another place and turned another way in every step, out of the detector's training tiles."""

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(
        type='CustomDataset',
        data_root='data/tree_crowns',
        data_prefix='train',
        with_label=False,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=96),
            dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
            dict(type='ColorJitter', brightness=0.3),
            dict(type='PackInputs'),
        ],
    ),
    sampler=dict(type='InfiniteSampler', shuffle=True),
)
