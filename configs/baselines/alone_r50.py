"""ResNet-50 alone on ImageNet-1K, under the recipe that it is distilled under.

tools/dist_train.sh configs/baselines/alone_r50.py 8
"""

_base_ = '../_base_/students/r50.py'

model = dict(_delete_=True, **_base_.student)
