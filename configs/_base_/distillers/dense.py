"""Dense MSE: the student's last map, through a linear layer and resized, against the teacher's.

Weight 1, nothing normalized: lightly-train's second method.
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(dense=dict(type='tas_mm.DenseMSELoss', reads='stage4', loss_weight=1.0)),
)
