"""ScaleKD, Swin-L to Swin-T on ImageNet-1K.

The authors state 83.80 top-1, by another recipe: docs/baselines.md.
tools/dist_train.sh configs/baselines/scalekd/swin_l_to_swin_t.py 8
"""

_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    '../../_base_/recipes/imagenet_vit.py',
    '../../_base_/distillers/scalekd.py',
]

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-large_16xb64_in1k.py', pretrained=True),
    distiller=_base_.distiller,
)
default_hooks = dict(check_teacher=dict(expected=86.24))
