"""Ablation D: without the path from teacher to student.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
That D is this path is our reading: we know the paper's A to C, F and G.
Launch as that one:   tools/dist_train.sh configs/ablations/d_no_teacher_to_student.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(paths=dict(TS=0)))
