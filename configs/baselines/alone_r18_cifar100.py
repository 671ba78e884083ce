"""ResNet-18 alone on CIFAR-100 at 224 px, under the recipe that it is distilled under.

tools/dist_train.sh configs/baselines/alone_r18_cifar100.py 8
"""

_base_ = '../_base_/students/r18_cifar100.py'

model = dict(_delete_=True, **_base_.student)
