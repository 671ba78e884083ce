"""Swin-T to ResNet-50 on ImageNet-1K (no pair of the paper: a backbone for detectors).

tools/dist_train.sh configs/tas/swin_to_r50.py 8
"""

_base_ = ['../_base_/models/resnet50.py', '../_base_/recipes/imagenet_cnn.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=81.18))
