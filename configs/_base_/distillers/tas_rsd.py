"""TAS with RSD's loss (ICCV 2025, arXiv 2507.21844) from teacher to student beside its own. A variant of ours.

The loss is a mean, so that one weight serves teachers of any width. Weight and kappa are the authors' 0.1 and
0.01, which are for a sum (rsd.py), at a teacher of 64 components. With 1,280 that sum starts at 180, labels at 2.3.
"""

distiller = dict(
    type='tas_mm.TASDistiller',
    terms=dict(rsd=dict(type='tas_mm.RSDLoss', reads='feature', reduction='mean', kappa=0.64, loss_weight=6.4)),
)
