"""Garments in front of aerial photos: the ImageNet MobileNetV2, fine-tuned, teaches a small MLP-Mixer."""

_base_ = '_base_/recipe.py'

model = dict(
    type='tas_mm.TAS',
    architecture=_base_.students.mixer,
    teacher='projects/color_fashion/configs/teacher.py',
    teacher_ckpt='projects/color_fashion/teacher/iter_1500.pth',
    distiller=dict(type='tas_mm.TASDistiller', teacher_size=64),
)
val_cfg = dict(type='tas_mm.TASValLoop', teacher_interval=None)
