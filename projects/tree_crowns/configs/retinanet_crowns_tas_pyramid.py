"""retinanet_crowns_tas_unlabeled.py with the first four levels of the pyramid compared as well, by MMRazor's CWD.

Make the teacher first: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py
Then: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_tas_pyramid.py
"""

_base_ = 'retinanet_crowns_tas_unlabeled.py'

cwd = dict(type='mmrazor.ChannelWiseDivergence', tau=1, loss_weight=10)  # the weights that MMRazor ships for RetinaNet
model = dict(distiller=dict(terms={f'fpn{i}': dict(cwd, reads=f'level{i}') for i in range(1, 5)}))
