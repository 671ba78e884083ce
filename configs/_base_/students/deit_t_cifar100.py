"""DeiT-T as a student on CIFAR-100 at 224 px: network, loss, data and recipe. A pair adds the teacher."""

_base_ = [
    '../models/deit_tiny.py',
    '../datasets/cifar100_bs128_224_vit.py',
    '../schedules/cifar100_vit.py',
    '../default_runtime.py',
]

student = _base_.model
student.head.num_classes = 100

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=student,
    distiller=dict(type='tas_mm.TASDistiller'),
)
