"""Tools report a file that is not the checkpoint they need in one line, before anything is lost."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests import networks

ROOT = Path(__file__).parents[2]


@pytest.fixture
def refusal(monkeypatch, capsys, tmp_path):
    """Run a tool in this process and return its error."""

    def refusal(tool: str, *arguments: object) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [f'tools/{tool}', *map(str, arguments)])
        with pytest.raises(SystemExit) as refused:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        said = refused.value.code
        return capsys.readouterr().err.splitlines()[-1] if said == 2 else said

    return refusal


def test_a_file_that_is_no_checkpoint(refusal, tmp_path):
    config = ROOT / 'configs' / 'quickstart' / 'student.py'
    text = tmp_path / 'text.pth'
    text.write_text('no checkpoint')
    calls = dict(test=(config, text), export_student=(text, 'out.pth'), train=(config, '--resume', text))
    for tool, arguments in calls.items():
        said = refusal(f'{tool}.py', *arguments)
        assert f"'{text}' cannot be read: torch.save did not write it. Expected a checkpoint of a run" in said
        said = refusal(f'{tool}.py', *('nowhere.pth' if each == text else each for each in arguments))
        assert "checkpoint 'nowhere.pth' does not exist" in said
    assert list(tmp_path.iterdir()) == [text]  # no run was begun


def test_the_checkpoint_of_another_network(refusal, build, tmp_path):
    torch.save(build(networks.vit()).state_dict(), tmp_path / 'other.pth')
    said = refusal('test.py', ROOT / 'configs' / 'quickstart' / 'student.py', tmp_path / 'other.pth')
    assert 'other.pth does not fit the student of' in said
    assert 'Missing key(s) in state_dict: "backbone.' in said
    assert '\n' not in said
    assert len(said) < 500


def test_an_ending_in_which_metrics_cannot_be_written(refusal):
    said = refusal('test.py', 'configs/quickstart/student.py', 'nowhere.pth', '--out', 'res.txt')
    assert '--out res.txt: expected one of .json, .yaml' in said
