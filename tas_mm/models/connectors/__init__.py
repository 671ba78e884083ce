"""Connectors of other methods: the early exits of OFA-KD."""

from .exit_branch import ExitBranch

__all__ = ['ExitBranch']
