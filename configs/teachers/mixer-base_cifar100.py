"""Fine-tunes ImageNet's Mixer-B/16 on CIFAR-100 at 224 px: the teacher of configs/tas/mixer_to_*_cifar100.py.

tools/dist_train.sh configs/teachers/mixer-base_cifar100.py 8
"""

_base_ = [
    'mmpretrain::_base_/models/mlp_mixer_base_patch16.py',
    '../_base_/datasets/cifar100_bs128_224.py',
    '../_base_/schedules/finetune_cifar100.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/mlp-mixer/'
            'mixer-base-p16_3rdparty_64xb64_in1k_20211124-1377e3e0.pth',
            prefix='backbone',
        )
    ),
    head=dict(num_classes=100),
)
