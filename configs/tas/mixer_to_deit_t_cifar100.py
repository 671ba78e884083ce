"""Mixer-B/16 to DeiT-T on CIFAR-100 at 224 px (a pair of TAS, arXiv 2410.12342).

Make the teacher first:   tools/dist_train.sh configs/teachers/mixer-base_cifar100.py 8
Then:                     tools/dist_train.sh configs/tas/mixer_to_deit_t_cifar100.py 8
"""

_base_ = ['../_base_/models/deit_tiny.py', '../_base_/recipes/cifar100_vit.py']

_base_.model.head.num_classes = 100

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher='tas_mm::teachers/mixer-base_cifar100.py',
    teacher_ckpt='work_dirs/mixer-base_cifar100/epoch_30.pth',
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=87.29))
