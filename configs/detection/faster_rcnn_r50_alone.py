"""Faster R-CNN on a ResNet-50 that was trained alone (configs/baselines/alone_r50.py), COCO 1x."""

_base_ = 'faster_rcnn_r50.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/alone_r50/epoch_100.pth')))
