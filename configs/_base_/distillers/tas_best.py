"""TAS with the teacher's stages first, and RSD's loss (arXiv 2507.21844) from teacher to student. A variant of ours.

The form that is first on the mean of our benchmark's pairs so far. RSD's weights are the authors', as in rsd.py.
"""

distiller = dict(
    type='tas_mm.TASDistiller',
    assistant=dict(early='teacher'),
    terms=dict(rsd=dict(type='tas_mm.RSDLoss', reads='feature', kappa=0.01, head_ratio=2.0, loss_weight=0.1)),
)
