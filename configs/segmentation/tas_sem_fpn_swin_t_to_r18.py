"""Semantic FPN on ResNet-18 learns from MMSegmentation's UPerNet on Swin-T by TAS inside both, ADE20K.

tools/dist_train.sh configs/segmentation/tas_sem_fpn_swin_t_to_r18.py 8
"""

_base_ = ['sem_fpn_r18.py', '../_base_/detector_hooks.py']

student = _base_.model
student.backbone.init_cfg = dict(type='Pretrained', checkpoint='torchvision://resnet18')

model = dict(
    _delete_=True,
    type='tas_mm.SegmentorTAS',
    architecture=student,
    teacher=dict(
        cfg_path='mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py', pretrained=True
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))))
default_hooks = _base_.tas_hooks
