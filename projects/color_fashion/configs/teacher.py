"""The ImageNet MobileNetV2, fine-tuned at 64 px on all labels of garments in front of aerial photos."""

_base_ = '_base_/recipe.py'

at_64_px = dict(type='Resize', scale=64, interpolation='bilinear')
train_pipeline = [*_base_.train_pipeline[:-1], at_64_px, dict(type='PackInputs')]
val_pipeline = [*_base_.val_pipeline[:-1], at_64_px, dict(type='PackInputs')]
test_pipeline = [*_base_.test_pipeline[:-1], at_64_px, dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(dataset=dict(pipeline=val_pipeline)))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='MobileNetV2',
        init_cfg=dict(type='Pretrained', checkpoint='data/tree_crowns/mobilenet_v2.pth', prefix='backbone.'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=1280, loss=dict(type='CrossEntropyLoss')),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_iters=1500, val_interval=1500)
