"""TAS with RSD's loss (ICCV 2025, arXiv 2507.21844) from teacher to student beside its own. A variant of ours.

The loss is the mean over the teacher's components. The authors' sum, as in rsd.py, drowns the student's own loss where
the teacher is wide: with a MobileNetV2 it starts at 180 beside 2.3.
"""

distiller = dict(
    type='tas_mm.TASDistiller',
    terms=dict(rsd=dict(type='tas_mm.RSDLoss', reads='feature', reduction='mean', loss_weight=1.0)),
)
