"""DKD: target class and other classes weighed apart (CVPR 2022, arXiv 2203.08679).

alpha 1, beta 2, temperature 1 and weight 1, as OFA-KD's code compares it.
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(dkd=dict(type='mmrazor.DKDLoss', tau=1.0, alpha=1.0, beta=2.0, loss_weight=1.0)),
)
