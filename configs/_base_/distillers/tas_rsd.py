"""TAS with RSD's loss (ICCV 2025, arXiv 2507.21844) from teacher to student beside its own. A variant of ours.

The loss is a mean, so that one weight serves teachers of any width. With 64 components it is close to the authors' sum,
whose weight and kappa are 0.1 and 0.01 (rsd.py). With 1,280 that sum starts at 180, the loss of labels at 2.3.
"""

distiller = dict(
    type='tas_mm.TASDistiller',
    terms=dict(rsd=dict(type='tas_mm.RSDLoss', reads='feature', reduction='mean', kappa=0.64, loss_weight=6.4)),
)
