"""Peak memory of a piece of work, on a GPU or in the process."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from pathlib import Path

import torch

MEBI = 2**20


class PeakMemory:
    """The most memory that is needed, from ``start`` on, beyond what was in use then.

    On the CPU that is the process's resident memory; where the peak cannot be started anew (outside Linux), that of
    the whole process.

    Args:
        device (str): ``'cpu'``, or a CUDA device.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith('cuda')

    def start(self) -> None:
        """Start the peak anew."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / MEBI
            return
        # Give back what the C library keeps of freed memory, or it would hide what is needed from here on.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        try:
            Path('/proc/self/clear_refs').write_text('5')
            self.before = _status('VmRSS')
        except OSError:
            self.before = 0.0

    def stop(self) -> float:
        """The peak since, in MiB."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() / MEBI - self.before
        if not self.before:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return _status('VmHWM') - self.before


def _status(key: str) -> float:
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024
