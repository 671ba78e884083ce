"""PAT beside KD and TAS on the benchmark's pairs, Fashion-MNIST with 1,000 labels. make benchmark-data first.

PYTHONPATH=. python tools/benchmark.py projects/pat/configs/suite.py --work-dir work_dirs/benchmark/cpu shares its runs.
"""

_base_ = '../../../configs/benchmark/suites/cpu.py'

methods = dict(pat='projects/pat/configs/pat.py')
settings = dict(
    _delete_=True,
    labels_1000=dict(options=_base_.few, methods=['alone', 'kd', 'tas', 'pat'], seeds=5),
)
