"""Faster R-CNN on a distilled MobileNetV2, COCO 1x.

python tools/transfer_detection.py STUDENT_CKPT configs/detection/faster_rcnn_mobilenetv2.py 8 --alone ALONE_CKPT
"""

_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmpretrain.models'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MobileNetV2',  # MMDetection's own has other names
        out_indices=(1, 2, 4, 7),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/swin_to_mobilenetv2/student_epoch_100.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(in_channels=[24, 32, 96, 1280]),
)
