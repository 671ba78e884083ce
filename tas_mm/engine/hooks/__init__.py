"""Hooks, one concern a file."""

from .progress_bar_hook import ProgressBarHook

__all__ = ['ProgressBarHook']
