"""The same distillation with the lean assistant, a tenth of the paths' weight, and maps at strides 8 and 16 compared.

Make the teacher first: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py
Then: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_tas_maps.py
"""

_base_ = ['retinanet_crowns_tas.py', '_base_/maps.py']

model = dict(
    distiller=dict(
        paths=dict(TS=0.1, TA=0.1, AS=0.1),
        assistant=dict(early='teacher', late_stages=0),
        terms=_base_.maps,
    ),
)
