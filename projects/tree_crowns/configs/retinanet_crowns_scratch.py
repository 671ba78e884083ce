"""RetinaNet on a ResNet-18 without trained weights, on photos of tree crowns.

python tools/train.py projects/tree_crowns/configs/retinanet_crowns_scratch.py
"""

_base_ = 'retinanet_crowns.py'

model = dict(backbone=dict(init_cfg=None))
