"""ResNet-50 to ResNet-18 on ImageNet-1K (of one family: the assistant is student, then teacher).

tools/dist_train.sh configs/tas/r50_to_r18.py 8
"""

_base_ = ['../_base_/models/resnet18.py', '../_base_/recipes/imagenet_cnn.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=76.55))
