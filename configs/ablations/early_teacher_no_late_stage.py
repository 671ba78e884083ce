"""The assistant is the teacher's stages 1 to 3, the projector and the student's head.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
A step costs about as much as one of KD.
Launch as that one:   tools/dist_train.sh configs/ablations/early_teacher_no_late_stage.py 8
"""

_base_ = ['../tas/swin_to_r18_cifar100.py', '../_base_/distillers/tas_lean.py']

model = dict(distiller=_base_.distiller)
