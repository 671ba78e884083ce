"""Lean TAS, with PKD's loss (pkd.py) and RSD's (as in tas_rsd.py) from teacher to student. A variant of ours.

The form that is first on the mean of our benchmark's pairs so far.
"""

_base_ = 'pkd.py'

distiller = dict(
    type='tas_mm.TASDistiller',
    assistant=dict(early='teacher', late_stages=0),
    terms=dict(rsd=dict(type='tas_mm.RSDLoss', reads='feature', reduction='mean', kappa=0.64, loss_weight=6.4)),
)
