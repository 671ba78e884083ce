"""Swin-S to Swin-T on ImageNet-1K (of one family: the assistant is student, then teacher).

tools/dist_train.sh configs/tas/swin_s_to_swin_t.py 8
"""

_base_ = ['mmpretrain::_base_/models/swin_transformer/tiny_224.py', '../_base_/recipes/imagenet_vit.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-small_16xb64_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=83.02))
