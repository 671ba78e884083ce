"""Mask R-CNN on a Swin-T that was trained alone (configs/baselines/alone_swin_t.py), COCO 1x."""

_base_ = 'mask_rcnn_swin_t.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/alone_swin_t/epoch_300.pth')))
