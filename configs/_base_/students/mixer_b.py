"""Mixer-B as a student on ImageNet-1K: network, loss, data and recipe. A pair adds the teacher."""

_base_ = [
    'mmpretrain::_base_/models/mlp_mixer_base_patch16.py',
    '../datasets/imagenet_bs128_vit.py',
    '../schedules/imagenet_vit.py',
    '../default_runtime.py',
]

student = _base_.model
student.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
student.train_cfg = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=student,
    distiller=dict(type='tas_mm.TASDistiller'),
)
