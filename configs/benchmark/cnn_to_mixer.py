"""Fashion-MNIST, cnn teacher to mixer student."""

_base_ = '../_base_/benchmark/recipe.py'

model = dict(
    type='tas_mm.TAS',
    architecture=_base_.students.mixer,
    teacher='tas_mm::benchmark/teachers/cnn.py',
    teacher_ckpt='work_dirs/benchmark/teachers/cnn/iter_2500.pth',
    distiller=dict(type='tas_mm.TASDistiller'),
)
val_cfg = dict(type='tas_mm.TASValLoop', teacher_interval=None)
