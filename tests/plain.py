"""A process that has the plain toolboxes alone, for what a user runs where tas_mm is not installed."""

import os
import subprocess
import sys
from pathlib import Path

from tas_mm.compat import multimodal, vision

PRELUDE = """
import runpy, sys
class Absent:
    def find_spec(self, name, *args):
        if name.split('.')[0] in ('tas_mm', 'mmrazor'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
for file in {adapters!r}:  # torchvision beside a CPU torch, MMPretrain beside a new transformers
    runpy.run_path(file)['adapt'](dict())
"""


def run_without_tas_mm(code: str, cwd: Path) -> str:
    """Run Python code where neither tas_mm nor MMRazor can be imported; return what it prints."""
    code = PRELUDE.format(adapters=[vision.__file__, multimodal.__file__]) + code
    command = [sys.executable, '-W', 'ignore', '-c', code]
    env = dict(os.environ, OMP_NUM_THREADS='1')
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout
