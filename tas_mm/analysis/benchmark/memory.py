"""Peak memory of a piece of work, on a GPU or in the process."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from pathlib import Path

import torch

MEBI = 2**20


class PeakMemory:
    """Peak memory from ``start`` to ``stop``, minus the memory in use at ``start``.

    On the CPU it measures the process's resident memory. Outside Linux the peak cannot be reset, so it is the peak of
    the whole process.

    Args:
        device (str): ``'cpu'``, or a CUDA device.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith('cuda')

    def start(self) -> None:
        """Reset the peak."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / MEBI
            return
        # Freed memory that the C library keeps would hide later allocations.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        try:
            Path('/proc/self/clear_refs').write_text('5')
            self.before = _status('VmRSS')
        except OSError:
            self.before = 0.0

    def stop(self) -> float:
        """Return the peak since ``start``, in MiB."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() / MEBI - self.before
        if not self.before:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return _status('VmHWM') - self.before


def _status(key: str) -> float:
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024
