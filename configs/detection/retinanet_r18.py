"""RetinaNet on a distilled ResNet-18, COCO 1x.

python tools/transfer_detection.py STUDENT_CKPT configs/detection/retinanet_r18.py 8 --alone ALONE_CKPT
"""

_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        depth=18,
        init_cfg=dict(checkpoint='work_dirs/swin_to_r18/student_epoch_100.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
