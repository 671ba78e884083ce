"""The plain loop, run as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_trains_all_three_and_stays_short():
    """With few steps: each network has its line, and its loss goes down."""
    command = [sys.executable, '-W', 'ignore', 'examples/minimal_distill.py', '12', '1']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    results = dict(re.findall(r'^(teacher|student alone|student distilled): ([\d.]+) %$', done.stdout, re.MULTILINE))
    assert results.keys() == {'teacher', 'student alone', 'student distilled'}
    losses = [float(loss) for loss in re.findall(r'loss ([\d.]+)', done.stdout)]
    for first, last in zip(losses[::2], losses[1::2]):
        assert last < first
    assert len((ROOT / 'examples' / 'minimal_distill.py').read_text().splitlines()) < 150
