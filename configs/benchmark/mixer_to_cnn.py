"""Fashion-MNIST, mixer teacher to cnn student."""

_base_ = '../_base_/benchmark/recipe.py'

model = dict(
    type='tas_mm.TAS',
    architecture=_base_.students.cnn,
    teacher='tas_mm::benchmark/teachers/mixer.py',
    teacher_ckpt='work_dirs/benchmark/teachers/mixer/iter_15000.pth',
    distiller=dict(type='tas_mm.TASDistiller'),
)
val_cfg = dict(type='tas_mm.TASValLoop', teacher_interval=None)
