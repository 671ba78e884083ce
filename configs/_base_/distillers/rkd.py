"""RKD: distances and angles between the samples of a batch (CVPR 2019, arXiv 1904.05068), on pooled features.

Weights 25 and 50, the authors'; features are not normalized first, as in OFA-KD's code.
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(
        distance=dict(type='mmrazor.DistanceWiseRKD', reads='feature', loss_weight=25.0, with_l2_norm=False),
        angle=dict(type='mmrazor.AngleWiseRKD', reads='feature', loss_weight=50.0, with_l2_norm=False),
    ),
)
