"""ScaleKD, Swin-T to ResNet-18 on CIFAR-100 at 224 px.

Networks, data and recipe of configs/tas/swin_to_r18_cifar100.py.
Make the teacher first:   tools/dist_train.sh configs/teachers/swin-tiny_cifar100.py 8
Then:                     tools/dist_train.sh configs/baselines/scalekd_swin_to_r18_cifar100.py 8
"""

_base_ = ['../tas/swin_to_r18_cifar100.py', '../_base_/distillers/scalekd.py']

model = dict(distiller=_base_.distiller)
