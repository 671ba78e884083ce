"""The same distillation with the lean assistant, a tenth of the paths' weight, and maps at strides 8 and 16 compared.

Make the teacher first: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py
Then: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_tas_maps.py
"""

_base_ = 'retinanet_crowns_tas.py'

dense = dict(
    type='tas_mm.CosineSmoothL1Loss', hidden_ratio=None, cosine_weight=1.0, smooth_l1_weight=0.0, loss_weight=2.0
)
model = dict(
    distiller=dict(
        paths=dict(TS=0.1, TA=0.1, AS=0.1),
        assistant=dict(early='teacher', late_stages=0),
        terms=dict(stride8=dict(dense, reads='stage2'), stride16=dict(dense, reads='stage3')),
    ),
)
