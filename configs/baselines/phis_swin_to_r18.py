"""PHI-S, Swin-T to ResNet-18 on ImageNet-1K.

Networks, data and recipe of configs/tas/swin_to_r18.py.
tools/dist_train.sh configs/baselines/phis_swin_to_r18.py 8
"""

_base_ = ['../tas/swin_to_r18.py', '../_base_/distillers/phis.py']

model = dict(distiller=_base_.distiller)
