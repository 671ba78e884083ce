"""ResNet-18 as a student on CIFAR-100 at 224 px: network, loss, data and recipe. A pair adds the teacher."""

_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    '../datasets/cifar100_bs128_224.py',
    '../schedules/cifar100_cnn.py',
    '../default_runtime.py',
]

student = _base_.model
student.head.num_classes = 100
student.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=student,
    distiller=dict(type='tas_mm.TASDistiller'),
)
