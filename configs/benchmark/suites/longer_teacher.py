"""The three pairs whose teacher is a CNN, with one trained for 15,000 steps, as the other teachers are.

python tools/benchmark.py configs/benchmark/suites/longer_teacher.py
"""

_base_ = 'cpu.py'

longer = {
    'model.teacher': 'tas_mm::benchmark/teachers/cnn_longer.py',
    'model.teacher_ckpt': 'work_dirs/benchmark/teachers/cnn_longer/iter_15000.pth',
}
pairs = dict(
    _delete_=True,
    **{
        pair: dict(config=f'tas_mm::benchmark/{pair}.py', options=longer)
        for pair in ('cnn_to_vit', 'cnn_to_mixer', 'cnn_to_cnn')
    },
)
settings = dict(
    _delete_=True,
    labels_1000=dict(options=_base_.few, methods=['alone', 'kd', 'dist', 'fitnet', 'ofa', 'rsd', 'tas', 'tas, best']),
)
