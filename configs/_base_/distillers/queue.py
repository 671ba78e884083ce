"""Queue KL: similarities to a queue of the teacher's features, softened (lightly-train's first method).

Temperature 0.07, lightly-train's. Set queue_size to a quarter to a half of the images, at most 8192, lightly-train's
value from 20,000 images on. lightly-train mixes the images of a batch: docs/baselines.md says how.
"""

distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(queue=dict(type='tas_mm.QueueKLLoss', reads='feature', queue_size=8192, temperature=0.07)),
)
