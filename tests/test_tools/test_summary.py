"""tools/summary.py, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*args):
    return subprocess.run([sys.executable, 'tools/summary.py', *args], cwd=ROOT, capture_output=True, text=True)


def test_a_table_of_what_each_part_costs_and_what_trains():
    done = run('configs/quickstart/tas.py', '--markdown')
    assert done.returncode == 0, done.stderr
    title, table = done.stdout.split('\n\n')
    assert title.endswith('configs/quickstart/tas.py, images of 32x32')
    header, _, *rows = table.splitlines()
    assert header.startswith('| network | part | whose | parameters | of them train |')
    cells = [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]
    found = {(network, part): (owner, trains) for network, part, owner, _, trains, *_ in cells}
    assert found['teacher', 'whole'] == ('own', '0')
    assert found['assistant', 'stages 1 to 3'][0] == "the student's"
    assert found['assistant', 'stage 4 and head'] == ("the teacher's", '0')
    assert ('assistant', 'projector (L2GProjector)') in found
    assert ('a training step', 'all, each once') in found


@pytest.mark.parametrize(
    ('text', 'message'), [('x = 1\n', 'own.py has no `model`'), ('x = (\n', "own.py' is no Python: ")]
)
def test_what_is_no_config_of_a_network_is_refused(tmp_path, text, message):
    (tmp_path / 'own.py').write_text(text)
    done = run(str(tmp_path / 'own.py'))
    assert done.returncode == 1
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


def test_what_is_no_distillation_is_refused():
    done = run('configs/quickstart/student.py')
    assert done.returncode == 1
    assert 'model.type=ImageClassifier, but valid is a distillation from one teacher' in done.stderr
