"""The notebook runs from end to end."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_tutorial_runs(tmp_path, monkeypatch):
    """All of its cells, with fewer steps of training; what it says of the pair is what it should."""
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    notebook = nbformat.read(ROOT / 'examples' / 'tas_tutorial.ipynb', as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('STEPS = 300', 'STEPS = 3')
    NotebookClient(notebook, timeout=300, resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    text = ''.join(output.get('text', '') for output in outputs)
    for expected in ('teacher: attention', 'student: cnn', 'L2GProjector', 'student.pth: '):
        assert expected in text
    assert len(set(re.findall(r'^teacher: [\d.]+ %', text, re.MULTILINE))) == 1  # alone, and within the distillation
    assert sum('image/png' in output.get('data', {}) for output in outputs) == 2
    assert (tmp_path / 'student.pth').exists()
