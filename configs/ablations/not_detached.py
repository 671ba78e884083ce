"""The assistant learns from the student too: its side of that path keeps its gradient.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
On the other paths the target is the teacher, which has no gradient anyway.
Launch as that one:   tools/dist_train.sh configs/ablations/not_detached.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(feature_loss=dict(detach_target=False), logit_loss=dict(detach_target=False)))
