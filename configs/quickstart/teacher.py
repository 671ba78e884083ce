"""The quickstart's teacher: a small vision transformer on all 1,297 training digits."""

_base_ = ['../_base_/datasets/digits.py', '../_base_/schedules/quickstart.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128),
        img_size=32,
        patch_size=4,
        drop_path_rate=0.1,
    ),
    head=dict(type='VisionTransformerClsHead', num_classes=10, in_channels=64),
)
train_cfg = dict(max_epochs=24, val_interval=4)
randomness = dict(seed=0)
