"""RSD's loss from teacher to student beside the three paths.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
Launch as that one:   tools/dist_train.sh configs/ablations/with_rsd.py 8
"""

_base_ = ['../tas/swin_to_r18_cifar100.py', '../_base_/distillers/tas_rsd.py']

model = dict(distiller=_base_.distiller)
