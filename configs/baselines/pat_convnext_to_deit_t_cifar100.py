"""PAT, ConvNeXt-T to DeiT-T on CIFAR-100 at 224 px.

Networks, data and recipe of configs/tas/convnext_to_deit_t_cifar100.py.
Make the teacher first:   tools/dist_train.sh configs/teachers/convnext-tiny_cifar100.py 8
Then:                     tools/dist_train.sh configs/baselines/pat_convnext_to_deit_t_cifar100.py 8
"""

_base_ = ['../tas/convnext_to_deit_t_cifar100.py', '../_base_/distillers/pat.py']

model = dict(distiller=_base_.distiller)
