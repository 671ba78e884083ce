"""TAS with a light projector: L2G a quarter as wide, then a linear layer. A variant of ours.

Swin-T to ResNet-18: 0.79 M parameters in place of 7.88 M.
"""

distiller = dict(type='tas_mm.TASDistiller', assistant=dict(projector=dict(width_ratio=0.25)))
