"""The plain loop, run as a user runs it."""

import re

from tests.tools import ROOT, run_tool


def test_the_example_trains_all_three_and_stays_short():
    """With few steps: each network has its line, and its loss goes down."""
    done = run_tool('examples/minimal_distill.py', '12', '1')
    assert done.returncode == 0, done.stderr[-3000:]
    results = dict(re.findall(r'^(teacher|student alone|student distilled): ([\d.]+) %$', done.stdout, re.MULTILINE))
    assert results.keys() == {'teacher', 'student alone', 'student distilled'}
    losses = [float(loss) for loss in re.findall(r'loss ([\d.]+)', done.stdout)]
    for first, last in zip(losses[::2], losses[1::2]):
        assert last < first
    assert len((ROOT / 'examples' / 'minimal_distill.py').read_text().splitlines()) < 150
