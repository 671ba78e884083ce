"""The paper's ablation G: without the OFA loss.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
The paper has 77.91 top-1; 81.61 in full.
Launch as that one:   tools/dist_train.sh configs/ablations/g_no_ofa.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(logit_loss=None))
