"""L2G a quarter as wide: 0.79 M parameters in place of 7.88 M.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
Launch as that one:   tools/dist_train.sh configs/ablations/projector_light.py 8
"""

_base_ = ['../tas/swin_to_r18_cifar100.py', '../_base_/distillers/tas_light.py']

model = dict(distiller=_base_.distiller)
