"""ConvNeXt-T to Swin-N on ImageNet-1K (a pair of TAS, arXiv 2410.12342).

tools/dist_train.sh configs/tas/convnext_to_swin_n.py 8
"""

_base_ = ['../_base_/models/swin_nano.py', '../_base_/recipes/imagenet_vit.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::convnext/convnext-tiny_32xb128_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=82.14))
