"""ScaleKD, Swin-L to ViT-S on ImageNet-1K.

The authors state 83.93 top-1, by another recipe: docs/baselines.md.
tools/dist_train.sh configs/baselines/scalekd/swin_l_to_vit_s.py 8
"""

_base_ = [
    '../../_base_/models/deit_tiny.py',
    '../../_base_/recipes/imagenet_vit.py',
    '../../_base_/distillers/scalekd.py',
]

_base_.model.backbone.arch = 'deit-small'
_base_.model.head.in_channels = 384

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-large_16xb64_in1k.py', pretrained=True),
    distiller=_base_.distiller,
)
default_hooks = dict(check_teacher=dict(expected=86.24))
