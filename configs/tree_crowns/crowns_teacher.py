"""The tree crowns' teacher: MobileNetV2 with its weights from ImageNet, fine-tuned on crops of the photos.

MMPretrain's model converter makes the file of weights from torchvision's; docs/detection.md has the command.
Then: python tools/train.py configs/tree_crowns/crowns_teacher.py
"""

_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    '../_base_/datasets/tree_crowns.py',
    '../_base_/schedules/quickstart.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='data/tree_crowns/mobilenet_v2.pth', prefix='backbone.')),
    head=dict(num_classes=2, topk=(1,)),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=5, val_interval=5)
randomness = dict(seed=0)
