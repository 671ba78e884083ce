"""For one data-center GPU: the pairs of cpu.py with larger teachers and longer training. make benchmark-data first.

python tools/benchmark.py configs/benchmark/suites/gpu.py --jobs 4     # small networks: several share a GPU
"""

_base_ = 'cpu.py'

pairs = {
    pair: dict(
        _delete_=True,
        config=config,
        options={
            'model.teacher': f'tas_mm::benchmark/teachers/{pair.split("_")[0]}_large.py',
            'model.teacher_ckpt': f'work_dirs/benchmark/teachers/{pair.split("_")[0]}_large/iter_8000.pth',
        },
    )
    for pair, config in _base_.pairs.items()
}
options = {
    'train_cfg.max_iters': 2000,
    'train_dataloader.batch_size': 64,
    'train_dataloader.num_workers': 2,
}
settings = dict(_delete_=True, labels_1000=dict(options=_base_.few), labels_55000=dict())
