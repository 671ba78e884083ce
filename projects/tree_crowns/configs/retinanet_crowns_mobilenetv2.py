"""The same RetinaNet on the MobileNetV2 with weights from ImageNet that teaches the student: the ceiling.

python tools/train.py projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py
"""

_base_ = 'retinanet_crowns.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MobileNetV2',
        out_indices=(1, 2, 4, 7),
        init_cfg=dict(type='Pretrained', checkpoint='data/tree_crowns/mobilenet_v2.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[24, 32, 96, 1280]),
)
