"""PAT, Swin-T to ResNet-18 on CIFAR-100 at 224 px.

Networks, data and recipe of configs/tas/swin_to_r18_cifar100.py.
Make the teacher first:   tools/dist_train.sh configs/teachers/swin-tiny_cifar100.py 8
Then:                     PYTHONPATH=. tools/dist_train.sh projects/pat/configs/pat_swin_to_r18_cifar100.py 8
"""

_base_ = ['../../../configs/tas/swin_to_r18_cifar100.py', 'pat.py']

model = dict(distiller=_base_.distiller)
# no decay of the prompts' factors, which gate the prompts
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(factor=dict(decay_mult=0.0))))
