"""RSD: correlation of pooled features pulled to the identity (ICCV 2025, arXiv 2507.21844).

Weight 0.1, kappa 0.01 and a head twice as wide as the student's feature, the authors' for every pair.
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(rsd=dict(type='tas_mm.RSDLoss', reads='feature', kappa=0.01, head_ratio=2.0, loss_weight=0.1)),
)
