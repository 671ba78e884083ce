"""Swin-S to Swin-T on ImageNet-1K (of one family: the assistant is student, then teacher).

tools/dist_train.sh configs/tas/swin_s_to_swin_t.py 8
"""

_base_ = '../_base_/students/swin_t.py'

model = dict(teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-small_16xb64_in1k.py', pretrained=True))
default_hooks = dict(check_teacher=dict(expected=83.02))
