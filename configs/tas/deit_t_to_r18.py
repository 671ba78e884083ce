"""DeiT-T to ResNet-18 on ImageNet-1K (a pair of TAS, arXiv 2410.12342).

tools/dist_train.sh configs/tas/deit_t_to_r18.py 8
"""

_base_ = ['../_base_/models/resnet18.py', '../_base_/recipes/imagenet_cnn.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::deit/deit-tiny_4xb256_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=74.5))
