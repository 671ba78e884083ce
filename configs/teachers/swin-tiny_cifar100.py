"""Fine-tunes ImageNet's Swin-T on CIFAR-100 at 224 px: the teacher of configs/tas/swin_to_*_cifar100.py.

tools/dist_train.sh configs/teachers/swin-tiny_cifar100.py 8
"""

_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    '../_base_/datasets/cifar100_bs128_224.py',
    '../_base_/schedules/finetune_cifar100.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/swin-transformer/'
            'swin_tiny_224_b16x64_300e_imagenet_20210616_090925-66df6be6.pth',
            prefix='backbone',
        )
    ),
    head=dict(num_classes=100),
)
