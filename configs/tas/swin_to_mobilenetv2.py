"""Swin-T to MobileNetV2 on ImageNet-1K (TAS, arXiv 2410.12342: 72.54 top-1).

tools/dist_train.sh configs/tas/swin_to_mobilenetv2.py 8
"""

_base_ = '../_base_/students/mobilenetv2.py'

model = dict(teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', pretrained=True))
default_hooks = dict(check_teacher=dict(expected=81.18))
