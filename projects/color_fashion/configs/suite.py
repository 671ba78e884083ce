"""Methods on garments in front of aerial photos, with a real pretrained CNN as teacher, 1,000 labels and all.

PYTHONPATH=. python tools/benchmark.py projects/color_fashion/configs/suite.py
"""

_base_ = '../../../configs/benchmark/suites/cpu.py'

# RSD with the weights that TAS gives its loss: the authors' sum fails with a teacher as wide as this one.
methods = {'rsd, mean': dict(type='tas_mm.PairDistiller', terms=_base_.rsd)}

pairs = dict(
    _delete_=True,
    **{f'mobilenetv2_to_{s}': f'projects/color_fashion/configs/mobilenetv2_to_{s}.py' for s in ('vit', 'mixer')},
)
METHODS = ['alone', 'kd', 'fitnet', 'pkd', 'ofa', 'rsd', 'rsd, mean', 'tas', 'tas, teacher first, rsd', 'tas, best']
settings = dict(
    _delete_=True,
    labels_1000=dict(options=_base_.few, methods=METHODS),
    labels_55000=dict(methods=METHODS),
)
