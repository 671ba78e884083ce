"""RetinaNet on a ResNet-18 that was trained alone (configs/baselines/alone_r18.py), COCO 1x."""

_base_ = 'retinanet_r18.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/alone_r18/epoch_100.pth')))
