"""L2G without its Swin block: a patch embedding.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
The teacher's stage 4 stays, unlike in A.
Launch as that one:   tools/dist_train.sh configs/ablations/projector_no_attention.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(assistant=dict(projector=dict(num_blocks=0))))
