"""CIFAR-100 at 224 px, transformer or MLP student: OFA-KD's recipe (arXiv 2310.19444). Batch 1024, on 8 GPUs 128 each.

The schedule is ImageNet's but for where the rate ends. Images, which are RGB, are changed as MMPretrain does for DeiT
and Swin; mixup and cutmix are options of the student.
"""

_base_ = ['../datasets/cifar100_bs128_224.py', '../schedules/vit.py', '../default_runtime.py']

mean, std = _base_.data_preprocessor.mean, _base_.data_preprocessor.std

train_pipeline = [
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[round(x) for x in mean], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean,
        fill_std=std,
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

param_scheduler = _base_.param_scheduler
param_scheduler[1]['eta_min'] = 1e-5
