"""Fine-tunes ImageNet's ConvNeXt-T on CIFAR-100 at 224 px: the teacher of configs/tas/convnext_to_*_cifar100.py.

tools/dist_train.sh configs/teachers/convnext-tiny_cifar100.py 8
"""

_base_ = [
    'mmpretrain::_base_/models/convnext/convnext-tiny.py',
    '../_base_/datasets/cifar100_bs128_224.py',
    '../_base_/schedules/finetune_cifar100.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/convnext/'
            'convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth',
            prefix='backbone',
        )
    ),
    head=dict(num_classes=100),
)
