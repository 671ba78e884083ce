"""The benchmark's cnn teacher, on the 55,000 training images."""

_base_ = '../../_base_/benchmark/recipe.py'

model = _base_.teachers.cnn
train_cfg = dict(max_iters=2500, val_interval=2500)
train_dataloader = dict(batch_size=64)
