"""Queue KL of features and self-similarity KL of maps, summed (lightly-train's third method, its default).

Temperatures 0.07 and weights 1, lightly-train's; queue_size and mixed images as in queue.py.
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(
        queue=dict(type='tas_mm.QueueKLLoss', reads='feature', queue_size=8192, temperature=0.07),
        patches=dict(type='tas_mm.SelfSimilarityLoss', reads='stage4', temperature=0.07, loss_weight=1.0),
    ),
)
