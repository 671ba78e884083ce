"""ScaleKD: stages 3 and 4 by cross-attention, in part through the teacher's stage 4 (NeurIPS 2024, arXiv 2411.06786).

Weights 0.08 and 0.06, softmax scale 5, the authors'; plain distillation beside it. The authors halve it and the
student's own loss (their alpha is 0.5); here both have weight 1, as in all baselines.
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(
        kd=dict(type='mmrazor.KLDivergence', tau=1.0, loss_weight=1.0),
        scalekd=dict(
            type='tas_mm.ScaleKDLoss',
            reads=dict(student=('stage3', 'stage4'), teacher='stage4'),
            weights=(0.08, 0.06),
            softmax_scale=5.0,
        ),
    ),
)
