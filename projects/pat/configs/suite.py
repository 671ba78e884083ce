"""PAT beside other methods on the benchmark's pairs, Fashion-MNIST with 1,000 labels. make benchmark-data first.

README.md has the command, which takes over the runs that are known.
"""

_base_ = '../../../configs/benchmark/suites/cpu.py'

methods = dict(pat='projects/pat/configs/pat.py')
settings = dict(
    _delete_=True,
    labels_1000=dict(options=_base_.few, methods=['alone', 'kd', 'rsd', 'tas', 'tas, best', 'pat'], seeds=5),
)
