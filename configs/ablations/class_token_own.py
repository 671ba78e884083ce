"""The late part's class token starts as the student's own, not as the mean of the projected tokens.

ConvNeXt-T to DeiT-T on CIFAR-100 at 224 px; all else is configs/tas/convnext_to_deit_t_cifar100.py.
Launch as that one:   tools/dist_train.sh configs/ablations/class_token_own.py 8
"""

_base_ = '../tas/convnext_to_deit_t_cifar100.py'

model = dict(distiller=dict(assistant=dict(class_token='own')))
