"""Swin-T alone on ImageNet-1K, under the recipe that it is distilled under.

tools/dist_train.sh configs/baselines/alone_swin_t.py 8
"""

_base_ = '../_base_/students/swin_t.py'

model = dict(_delete_=True, **_base_.student)
