"""Semantic FPN on a distilled ResNet-18, ADE20K, for MMSegmentation (pip install onedl-mmsegmentation).

tools/dist_train.sh configs/segmentation/sem_fpn_r18.py 8
"""

_base_ = 'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py'

model = dict(
    pretrained=None,
    backbone=dict(
        type='ResNet',  # the base has one with another stem
        depth=18,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/swin_to_r18/student_epoch_100.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
