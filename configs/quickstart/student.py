"""The quickstart's student trained alone: a small CNN on 50 labeled digits, shown 15 times an epoch."""

_base_ = ['../_base_/datasets/digits.py', '../_base_/schedules/quickstart.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=16, base_channels=16),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=128, loss=dict(type='CrossEntropyLoss')),
)
train_dataloader = dict(
    batch_size=50,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=15,
        dataset=dict(type='tas_mm.Digits', split='train', num_labeled=50, pipeline=_base_.train_pipeline),
    ),
)
randomness = dict(seed=0)
