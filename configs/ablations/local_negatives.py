"""InfoNCE's negatives from each GPU's own batch in place of all GPUs'.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
Launch as that one:   tools/dist_train.sh configs/ablations/local_negatives.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(feature_loss=dict(gather=False)))
