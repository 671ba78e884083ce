"""What several tools ask of what they are given on the command line, before anything is built."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from .checkpoint import damage

ZIP, PICKLE = b'PK', b'\x80'
"""What files of ``torch.save`` begin with; those before torch 1.6 were no zip archives."""


def at_least(least: int) -> Callable[[str], int]:
    """Type of an option: a whole number, no smaller than this.

    Args:
        least (int): The smallest.
    """

    def number(text: str) -> int:
        try:
            if (value := int(text)) >= least:
                return value
        except ValueError:
            pass
        raise ArgumentTypeError(f'{text!r}, but valid is a whole number of at least {least}')

    return number


def refuse_unreadable(checkpoint: str) -> None:
    """Refuse a file that is no checkpoint; of a URL nothing is known yet.

    Args:
        checkpoint (str): As a user named it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If ``torch.save`` did not write it, or it is damaged.
    """
    if '://' in checkpoint:
        return
    if not os.path.isfile(checkpoint):
        raise FileNotFoundError(f'checkpoint {checkpoint!r} does not exist (looked from {Path.cwd()})')
    problem = damage(checkpoint)
    with open(checkpoint, 'rb') as file:
        if not problem and not file.read(2).startswith((ZIP, PICKLE)):
            problem = 'torch.save did not write it'
    if problem:
        raise ValueError(f'{checkpoint!r} cannot be read: {problem}; valid is a checkpoint of a run')
