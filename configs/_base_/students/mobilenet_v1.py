"""MobileNetV1 as a student on ImageNet-1K: network, loss, data and recipe. A pair adds the teacher."""

_base_ = [
    '../models/mobilenet_v1.py',
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    '../schedules/imagenet_cnn.py',
    '../default_runtime.py',
]

student = _base_.model

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=student,
    distiller=dict(type='tas_mm.TASDistiller'),
)
