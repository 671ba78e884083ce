"""ImageNet-1K for transformer and MLP students: RandAugment and erasing; mixup and cutmix stand with the student."""

_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

train_dataloader = dict(batch_size=128, num_workers=8)
val_dataloader = dict(batch_size=128, num_workers=8)
test_dataloader = val_dataloader
