"""PAT, ConvNeXt-T to DeiT-T on CIFAR-100 at 224 px.

Networks, data and recipe of configs/tas/convnext_to_deit_t_cifar100.py.
Make the teacher first:   tools/dist_train.sh configs/teachers/convnext-tiny_cifar100.py 8
Then:                     PYTHONPATH=. tools/dist_train.sh projects/pat/configs/pat_convnext_to_deit_t_cifar100.py 8
"""

_base_ = ['../../../configs/tas/convnext_to_deit_t_cifar100.py', 'pat.py']

model = dict(distiller=_base_.distiller)
