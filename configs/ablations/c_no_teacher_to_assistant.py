"""The paper's ablation C: without the path from teacher to assistant.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
The paper has 25.57 top-1; 81.61 in full: nothing trains the projector.
Launch as that one:   tools/dist_train.sh configs/ablations/c_no_teacher_to_assistant.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(paths=dict(TA=0)))
