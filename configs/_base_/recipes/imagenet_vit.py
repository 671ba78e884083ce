"""ImageNet-1K, transformer or MLP student: OFA-KD's recipe (arXiv 2310.19444). Batch 1024, on 8 GPUs 128 each.

Images are changed by RandAugment and erasing; mixup and cutmix are options of the student. OFA's gamma: see
imagenet_cnn.py.
"""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py', '../schedules/vit.py', '../default_runtime.py']

train_dataloader = dict(batch_size=128, num_workers=8)
val_dataloader = dict(batch_size=128, num_workers=8)
test_dataloader = val_dataloader
