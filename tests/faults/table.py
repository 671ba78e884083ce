"""All faults, in the order in which they are planted."""

from . import files, learning, running, teachers

FAULTS = [*learning.FAULTS, *teachers.FAULTS, *running.FAULTS, *files.FAULTS]
