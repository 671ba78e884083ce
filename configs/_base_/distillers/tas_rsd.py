"""TAS with RSD's loss (ICCV 2025, arXiv 2507.21844) from teacher to student beside its own. A variant of ours.

RSD's weights are the authors', as in rsd.py.
"""

distiller = dict(
    type='tas_mm.TASDistiller',
    terms=dict(rsd=dict(type='tas_mm.RSDLoss', reads='feature', kappa=0.01, head_ratio=2.0, loss_weight=0.1)),
)
