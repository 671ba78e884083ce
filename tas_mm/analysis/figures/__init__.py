"""Figures of pairs, runs and suites, drawn without a display."""
