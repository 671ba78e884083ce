"""The benchmark's cnn teacher, on the 55,000 training images."""

_base_ = '../recipe.py'

model = _base_.teachers.cnn
train_cfg = dict(max_iters=2500, val_interval=2500)
