"""The tree crowns' student trained alone: a ResNet-18, a quarter as wide, on crops of the photos.

python tools/train.py projects/tree_crowns/configs/crowns_alone.py
"""

_base_ = [
    '_base_/crops.py',
    '../../../configs/_base_/schedules/quickstart.py',
    '../../../configs/_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=16, base_channels=16),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=128, loss=dict(type='CrossEntropyLoss')),
)
train_cfg = dict(max_epochs=15, val_interval=5)
randomness = dict(seed=0)
