"""retinanet_crowns_tas_unlabeled.py with class scores compared location by location as well.

Make the teacher first: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py
Then: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_tas_scores.py
"""

_base_ = 'retinanet_crowns_tas_unlabeled.py'

model = dict(distiller=dict(terms=dict(scores=dict(type='tas_mm.DenseLogitLoss'))))
