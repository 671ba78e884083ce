"""The tree crowns' teacher: MobileNetV2 with its weights from ImageNet, fine-tuned on crops of the photos.

Make the file of weights first: make tree-crowns
Then: python tools/train.py projects/tree_crowns/configs/crowns_teacher.py
"""

_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    '_base_/crops.py',
    '../../../configs/_base_/schedules/quickstart.py',
    '../../../configs/_base_/default_runtime.py',
]

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='data/tree_crowns/mobilenet_v2.pth', prefix='backbone.')),
    head=dict(num_classes=2, topk=(1,)),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=5, val_interval=5)
randomness = dict(seed=0)
