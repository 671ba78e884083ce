"""The benchmark's cnn teacher, trained as long as the others."""

_base_ = 'cnn.py'

train_cfg = dict(max_iters=15000, val_interval=5000)
