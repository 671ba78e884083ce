"""InfoNCE's temperature fixed at 0.07 in place of learned.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
Launch as that one:   tools/dist_train.sh configs/ablations/fixed_temperature.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(feature_loss=dict(learnable=False)))
