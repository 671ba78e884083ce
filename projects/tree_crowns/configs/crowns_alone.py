"""The tree crowns' student trained alone, with labels: a ResNet-18, a quarter as wide, on crops of the photos.

python tools/train.py projects/tree_crowns/configs/crowns_alone.py
"""

_base_ = ['_base_/crops.py', '_base_/pretraining.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=16, base_channels=16),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=128, loss=dict(type='CrossEntropyLoss')),
)
