"""PAT, ViT-S to MobileNetV2 on CIFAR-100 at 224 px.

Networks, data and recipe of configs/tas/vit_s_to_mobilenetv2_cifar100.py.
Make the teacher first:   tools/dist_train.sh configs/teachers/vit-small_cifar100.py 8
Then:                     tools/dist_train.sh configs/baselines/pat_vit_s_to_mobilenetv2_cifar100.py 8
"""

_base_ = ['../tas/vit_s_to_mobilenetv2_cifar100.py', '../_base_/distillers/pat.py']

model = dict(distiller=_base_.distiller)
