"""RetinaNet on a MobileNetV2 that was trained alone (configs/baselines/alone_mobilenetv2.py), COCO 1x."""

_base_ = 'retinanet_mobilenetv2.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/alone_mobilenetv2/epoch_100.pth')))
