"""TAS whose assistant begins with the teacher's stages, whichever family that is of. A variant of ours.

For a CNN student and a teacher of attention or MLP this turns the paper's order around: the student's last stage and
head learn from the teacher's features too. A step costs less, since no gradient goes through the teacher.
"""

distiller = dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher'))
