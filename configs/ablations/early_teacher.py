"""The assistant's early part is the teacher's, its late part the student's.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
Global features come first, against the paper's rule.
Launch as that one:   tools/dist_train.sh configs/ablations/early_teacher.py 8
"""

_base_ = ['../tas/swin_to_r18_cifar100.py', '../_base_/distillers/tas_teacher_first.py']

model = dict(distiller=_base_.distiller)
