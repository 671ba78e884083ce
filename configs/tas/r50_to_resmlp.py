"""ResNet-50 to ResMLP-S12 on ImageNet-1K (a pair of TAS, arXiv 2410.12342).

tools/dist_train.sh configs/tas/r50_to_resmlp.py 8
"""

_base_ = ['../_base_/models/resmlp_s12.py', '../_base_/recipes/imagenet_vit.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=76.55))
