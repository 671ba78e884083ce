"""Suites of runs that compare methods, and comparisons of single training steps."""
