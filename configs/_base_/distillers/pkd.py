"""PKD: every stage of the student, adapted, against the same stage of the teacher by correlation (arXiv 2207.02039).

NeurIPS 2022. One minus Pearson's correlation of each channel over the batch and all positions, so the scale of the
teacher's maps does not matter. The authors compare a detector's pyramid, with weight 6 or 10; stages and adapter are
FitNet's here.
"""


def maps(stage):
    loss = dict(type='mmrazor.PKDLoss', loss_weight=6.0)
    return dict(loss, reads=stage, connector=dict(type='tas_mm.LinearProjector'))


distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(map1=maps('stage1'), map2=maps('stage2'), map3=maps('stage3'), map4=maps('stage4')),
)
