"""Mask R-CNN on a distilled Swin-T, COCO 1x.

python tools/transfer_detection.py STUDENT_CKPT configs/detection/mask_rcnn_swin_t.py 8 --alone ALONE_CKPT
"""

_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        convert_weights=False,  # the names are MMDetection's already
        init_cfg=dict(checkpoint='work_dirs/swin_s_to_swin_t/student_epoch_300.pth'),
    ),
)
