"""The tree crowns' student distilled without labels from an ImageNet MobileNetV2, on fresh crops of the training tiles.

Make the data and the teacher's weights first: make tree-crowns
Then: python tools/train.py projects/tree_crowns/configs/crowns_label_free.py
"""

_base_ = ['_base_/views.py', '_base_/maps.py', '_base_/pretraining.py']

model = dict(
    type='tas_mm.TAS',
    calculate_student_loss=False,
    architecture=dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18, stem_channels=16, base_channels=16),
        neck=dict(type='GlobalAveragePooling'),
    ),
    teacher=dict(type='ImageClassifier', backbone=dict(type='MobileNetV2'), neck=dict(type='GlobalAveragePooling')),
    teacher_ckpt='data/tree_crowns/mobilenet_v2.pth',
    distiller=dict(
        type='tas_mm.TASDistiller',
        input_size=96,
        assistant=dict(early='teacher', late_stages=0),
        terms=_base_.maps,
    ),
)
