"""Swin-N alone on ImageNet-1K, under the recipe that it is distilled under.

tools/dist_train.sh configs/baselines/alone_swin_n.py 8
"""

_base_ = '../_base_/students/swin_n.py'

model = dict(_delete_=True, **_base_.student)
