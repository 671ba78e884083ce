"""The projector is a linear layer on averaged positions in place of L2G.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
Launch as that one:   tools/dist_train.sh configs/ablations/projector_linear.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(assistant=dict(projector=dict(type='tas_mm.LinearProjector'))))
