"""DeiT-S to DeiT-T on ImageNet-1K (of one family: the assistant is student, then teacher).

tools/dist_train.sh configs/tas/deit_s_to_deit_t.py 8
"""

_base_ = ['../_base_/models/deit_tiny.py', '../_base_/recipes/imagenet_vit.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::deit/deit-small_4xb256_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=80.69))
