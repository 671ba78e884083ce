"""TAS with the teacher's stages first, and RSD's loss (arXiv 2507.21844) from teacher to student. A variant of ours.

The form that is first on the mean of our benchmark's pairs so far.
"""

_base_ = 'tas_rsd.py'

distiller = dict(assistant=dict(early='teacher'))
