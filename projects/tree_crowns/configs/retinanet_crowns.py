"""RetinaNet, small enough for a CPU, on a distilled ResNet-18 a quarter as wide, on photos of tree crowns.

Train the student first: python tools/train.py projects/tree_crowns/configs/crowns_label_free.py
Then: python tools/train.py projects/tree_crowns/configs/retinanet_crowns.py
"""

_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', '_base_/tiles.py']

model = dict(
    backbone=dict(
        depth=18,
        stem_channels=16,
        base_channels=16,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=dict(checkpoint='work_dirs/crowns_label_free/student_iter_2000.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4),
    bbox_head=dict(
        num_classes=1,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        anchor_generator=dict(strides=[8, 16, 32, 64]),
    ),
)
