"""KD: soft cross-entropy between logits (Hinton et al., arXiv 1503.02531).

Temperature and weight 1, as OFA-KD compares it (arXiv 2310.19444 and its code).
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(kd=dict(type='mmrazor.KLDivergence', tau=1.0, loss_weight=1.0)),
)
