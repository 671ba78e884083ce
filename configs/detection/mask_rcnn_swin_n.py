"""Mask R-CNN on a distilled Swin-N, COCO 1x.

python tools/transfer_detection.py STUDENT_CKPT configs/detection/mask_rcnn_swin_n.py 8 --alone ALONE_CKPT
"""

_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        embed_dims=64,
        depths=[2, 2, 2, 2],
        num_heads=[2, 4, 8, 16],
        convert_weights=False,  # the names are MMDetection's already
        init_cfg=dict(checkpoint='work_dirs/convnext_to_swin_n/student_epoch_300.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
