"""PHI-S: unic.py with beta 2, against targets whose channels all have variance 1 (arXiv 2410.01680).

Statistics are refreshed every 100 batches, as NVIDIA TAO does.
"""


def phis(reads):
    loss = dict(type='tas_mm.CosineSmoothL1Loss', beta=2.0, hidden_ratio=4.0, loss_weight=0.5)
    return dict(loss, reads=reads, balanced=True, refresh=100)


distiller = dict(type='tas_mm.PairDistiller', terms=dict(feature=phis('feature'), patches=phis('stage4')))
