"""Mixer-B/16 to MobileNetV2 on ImageNet-1K (a pair of TAS, arXiv 2410.12342).

tools/dist_train.sh configs/tas/mixer_to_mobilenetv2.py 8
"""

_base_ = ['../_base_/models/mobilenet_v2.py', '../_base_/recipes/imagenet_cnn.py']

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmpretrain::mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
default_hooks = dict(check_teacher=dict(expected=76.68))
