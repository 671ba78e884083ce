"""Fine-tunes ImageNet's ViT-S/16 on CIFAR-100 at 224 px: the teacher of configs/tas/vit_s_to_*_cifar100.py.

timm's network and weights: MMPretrain has no trained ViT-S, and its arch 'small' is another, 768 wide and 8 deep.

tools/dist_train.sh configs/teachers/vit-small_cifar100.py 8
"""

_base_ = [
    '../_base_/datasets/cifar100_bs128_224.py',
    '../_base_/schedules/finetune_cifar100.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='TimmClassifier',
    model_name='vit_small_patch16_224.augreg_in21k_ft_in1k',
    pretrained=True,
    num_classes=100,
)
