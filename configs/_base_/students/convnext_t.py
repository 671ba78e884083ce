"""ConvNeXt-T as a student on ImageNet-1K: network, loss, data and recipe. A pair adds the teacher."""

_base_ = [
    'mmpretrain::_base_/models/convnext/convnext-tiny.py',
    '../datasets/imagenet_bs128_vit.py',
    '../schedules/imagenet_vit.py',
    '../default_runtime.py',
]

student = _base_.model

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=student,
    distiller=dict(type='tas_mm.TASDistiller'),
)
