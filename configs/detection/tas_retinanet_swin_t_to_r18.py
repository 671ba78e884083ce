"""RetinaNet on ResNet-18 learns from MMDetection's Mask R-CNN on Swin-T by TAS inside both, COCO 1x.

tools/dist_train.sh configs/detection/tas_retinanet_swin_t_to_r18.py 8
"""

_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'

model = dict(
    _delete_=True,
    type='tas_mm.DetectorTAS',
    architecture=_base_.model,
    teacher=dict(cfg_path='mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', pretrained=True),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))))
default_hooks = dict(
    checkpoint=dict(type='tas_mm.CheckpointHook'),
    check_finite=dict(type='tas_mm.CheckFiniteHook'),
    export_student=dict(type='tas_mm.ExportStudentHook'),
    teacher_fingerprint=dict(type='tas_mm.TeacherFingerprintHook'),
)
