"""Swin-T to ResMLP-S12 on ImageNet-1K (a pair of TAS, arXiv 2410.12342).

tools/dist_train.sh configs/tas/swin_to_resmlp.py 8
"""

_base_ = ['../_base_/models/resmlp_s12.py', '../_base_/recipes/imagenet_vit.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=81.18))
