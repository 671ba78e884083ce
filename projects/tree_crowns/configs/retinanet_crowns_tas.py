"""RetinaNet on MobileNetV2 to the small RetinaNet, whose backbone starts from nothing: TAS inside the detectors.

Make the teacher first: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py
Then: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_tas.py
"""

_base_ = ['retinanet_crowns.py', '../../../configs/_base_/detector_hooks.py']

student = _base_.model
student.backbone.init_cfg = None

model = dict(
    _delete_=True,
    type='tas_mm.DetectorTAS',
    architecture=student,
    teacher='projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py',
    teacher_ckpt='work_dirs/retinanet_crowns_mobilenetv2/iter_540.pth',
    distiller=dict(type='tas_mm.TASDistiller'),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))))
default_hooks = _base_.tas_hooks
