"""RetinaNet on a distilled ResNet-50, COCO 1x.

python tools/transfer_detection.py STUDENT_CKPT configs/detection/retinanet_r50.py 8 --alone ALONE_CKPT
"""

_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/swin_to_r50/student_epoch_100.pth', prefix='backbone.'),
    ),
)
