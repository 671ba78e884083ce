"""Realistic faults, planted one at a time in a copy of the tree: does a test catch each? See :mod:`.run`."""
