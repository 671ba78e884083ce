"""Ablation E: without the path from assistant to student.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
That E is this path is our reading: we know the paper's A to C, F and G.
Launch as that one:   tools/dist_train.sh configs/ablations/e_no_assistant_to_student.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(paths=dict(AS=0)))
