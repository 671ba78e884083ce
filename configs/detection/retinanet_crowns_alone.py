"""RetinaNet on a ResNet-18 that was trained alone (configs/tree_crowns/crowns_alone.py), on photos of tree crowns."""

_base_ = 'retinanet_crowns.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/crowns_alone/epoch_15.pth')))
