"""TAS whose assistant is the teacher's first three stages, the projector and the student's head. A variant of ours.

No stage runs a second time and no gradient goes through the teacher, so a step costs about as much as one of KD.
"""

distiller = dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher', late_stages=0))
