"""The paper's ablation F: without InfoNCE.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
The paper has 80.95 top-1; 81.61 in full.
Launch as that one:   tools/dist_train.sh configs/ablations/f_no_infonce.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(feature_loss=None))
