"""Lean TAS, with RSD's loss, and PKD's after stages 2 to 4, from teacher to student. A variant of ours.

The form that is first on the mean of our benchmark's pairs so far. Stage 1 has the largest maps, and is left out for
its cost.
"""

_base_ = 'tas_rsd.py'


def maps(stage):
    loss = dict(type='mmrazor.PKDLoss', loss_weight=1.0)
    return dict(loss, reads=stage, connector=dict(type='tas_mm.LinearProjector'))


distiller = dict(
    assistant=dict(early='teacher', late_stages=0),
    terms=dict(map2=maps('stage2'), map3=maps('stage3'), map4=maps('stage4')),
)
