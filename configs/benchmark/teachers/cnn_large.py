"""A larger cnn teacher, for the benchmark on a GPU."""

_base_ = '../../_base_/benchmark/recipe.py'

model = _base_.large_teachers.cnn
train_dataloader = dict(batch_size=256, num_workers=4)
train_cfg = dict(max_iters=8000, val_interval=2000)
