"""TAS: three paths between teacher, assistant and student, with InfoNCE and OFA on each (arXiv 2410.12342)."""

distiller = dict(type='tas_mm.TASDistiller')
