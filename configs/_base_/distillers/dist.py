"""DIST: correlation of predictions within and between classes (NeurIPS 2022, arXiv 2205.10536).

Both weights 1 and temperature 1, as OFA-KD's code compares it.
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(
        dist=dict(type='mmrazor.DISTLoss', inter_loss_weight=1.0, intra_loss_weight=1.0, tau=1.0, loss_weight=1.0)
    ),
)
