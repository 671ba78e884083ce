"""Mask R-CNN on a Swin-N that was trained alone (configs/baselines/alone_swin_n.py), COCO 1x."""

_base_ = 'mask_rcnn_swin_n.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/alone_swin_n/epoch_300.pth')))
