"""The benchmark's recipe on garments in front of aerial photos, 32x32 in color; students for that size.

make benchmark-data tree-crowns has the data. Photos to train and to test are different parts of the aerial photos.
"""

_base_ = '../../../../configs/_base_/benchmark/recipe.py'

data_preprocessor = dict(_delete_=True, num_classes=10, mean=[107.9, 115.9, 102.6], std=[59.2, 59.2, 42.7], to_rgb=True)

on_photos = dict(type='projects.color_fashion.OnPhotos', photos='data/tree_crowns/train')
on_other_photos = dict(on_photos, photos='data/tree_crowns/test')
train_pipeline = [
    on_photos,
    dict(type='RandomCrop', crop_size=32, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
val_pipeline = [on_photos, dict(type='PackInputs')]
test_pipeline = [on_other_photos, dict(type='PackInputs')]

train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(dataset=dict(pipeline=val_pipeline)))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

students = dict(
    vit=dict(backbone=dict(in_channels=3, img_size=32)),
    mixer=dict(backbone=dict(img_size=32, patch_cfg=dict(in_channels=3))),
)
