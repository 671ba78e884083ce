"""UNIC: cosine and smooth L1 of the feature and of the last map (ECCV 2024, arXiv 2408.05088).

The authors': both terms 0.5, beta 1, feature and map averaged, for each a GELU MLP four times as wide as the student.
"""


def unic(reads):
    return dict(type='tas_mm.CosineSmoothL1Loss', reads=reads, beta=1.0, hidden_ratio=4.0, loss_weight=0.5)


distiller = dict(type='tas_mm.PairDistiller', terms=dict(feature=unic('feature'), patches=unic('stage4')))
