"""MobileNetV2 alone on ImageNet-1K, under the recipe that it is distilled under.

tools/dist_train.sh configs/baselines/alone_mobilenetv2.py 8
"""

_base_ = '../_base_/students/mobilenetv2.py'

model = dict(_delete_=True, **_base_.student)
