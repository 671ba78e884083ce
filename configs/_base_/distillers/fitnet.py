"""FitNet: every stage of the student, adapted, against the same stage of the teacher (ICLR 2015, arXiv 1412.6550).

The mean square error after all four stages, weight 1 each, as OFA-KD's code compares it. The adapter works for any two
families: maps averaged onto the teacher's grid, then a 1x1 convolution.
"""


def hint(stage):
    loss = dict(type='mmrazor.L2Loss', normalize=False, div_element=True, loss_weight=1.0)  # mean square error
    return dict(loss, reads=stage, connector=dict(type='tas_mm.LinearProjector'))


distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(hint1=hint('stage1'), hint2=hint('stage2'), hint3=hint('stage3'), hint4=hint('stage4')),
)
