"""ViT-S to MobileNetV2 on CIFAR-100 at 224 px (TAS, arXiv 2410.12342: 82.10 top-1).

Make the teacher first:   tools/dist_train.sh configs/teachers/vit-small_cifar100.py 8
Then:                     tools/dist_train.sh configs/tas/vit_s_to_mobilenetv2_cifar100.py 8
"""

_base_ = ['../_base_/models/mobilenet_v2.py', '../_base_/recipes/cifar100_cnn.py']

_base_.model.head.num_classes = 100

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher='tas_mm::teachers/vit-small_cifar100.py',
    teacher_ckpt='work_dirs/vit-small_cifar100/epoch_30.pth',
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=92.04))
