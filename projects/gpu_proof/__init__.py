"""Proof on a GPU: every claim about a GPU, measured part by part, in calls of a few minutes.

``run`` runs the parts and keeps a JSON line of each; ``pack`` collects what a machine without a package registry lacks,
and ``offline`` installs it there.
"""
