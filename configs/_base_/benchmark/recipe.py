"""Networks, data and schedule of all runs of the benchmark. A pair adds the model."""

_base_ = [
    'networks.py',
    '../datasets/fashion_mnist.py',
    '../schedules/benchmark.py',
    '../default_runtime.py',
]

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1, save_best=None),
    logger=dict(interval=20, log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
