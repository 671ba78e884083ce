"""Faster R-CNN on Swin-T to Faster R-CNN on ResNet-18 by TAS inside the detectors, COCO 1x.

Make the teacher first: tools/dist_train.sh configs/detection/teachers/faster_rcnn_swin_t.py 8
Then: tools/dist_train.sh configs/detection/tas_faster_rcnn_swin_t_to_r18.py 8
"""

_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', '../_base_/detector_hooks.py']

student = _base_.model
student.backbone.update(depth=18, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))
student.neck.in_channels = [64, 128, 256, 512]

model = dict(
    _delete_=True,
    type='tas_mm.DetectorTAS',
    architecture=student,
    teacher='tas_mm::detection/teachers/faster_rcnn_swin_t.py',
    teacher_ckpt='work_dirs/faster_rcnn_swin_t/epoch_12.pth',
    distiller=dict(type='tas_mm.TASDistiller'),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))))
default_hooks = _base_.tas_hooks
