"""The doctor: exit status, families, remedies; also where hardly anything is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tas_mm import doctor
from tas_mm.compat.versions import TRIED, untried

ROOT = Path(__file__).parents[2]


def test_it_passes_here_and_names_every_dependency(capsys):
    status = doctor.main()
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert 'tas_mm can run.' in printed
    for dependency in doctor.DEPENDENCIES:
        assert dependency.module in printed
    assert 'maintained fork' in printed or 'upstream' in printed


def test_in_an_empty_environment_it_still_speaks_and_fails():
    """With -S there are no site packages, so not even torch."""
    code = (
        f'import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_module("tas_mm.doctor", run_name="__main__")'
    )
    result = subprocess.run([sys.executable, '-S', '-c', code, '-m', 'tas_mm.doctor'], capture_output=True, text=True)
    assert result.returncode == 1, result.stdout + result.stderr
    assert '-> torch: install the torch build' in result.stdout
    assert 'tas_mm cannot run: torch,' in result.stdout


def test_two_families_at_once_are_an_error():
    twice = doctor.Dependency('mmengine', {'pytest': 'maintained fork', 'pip': 'upstream'}, '')
    finding = doctor.examine(twice, load=lambda name: None)
    assert finding.fatal
    assert 'both pytest and pip provide it' in finding.remedy


def test_what_does_not_import_is_reported_with_its_error():
    def broken(name):
        raise RuntimeError('operator nms does not exist')

    finding = doctor.examine(doctor.Dependency('pytest', {'pytest': ''}, 'install it again'), load=broken)
    assert finding.fatal
    assert finding.state == 'does not import: RuntimeError: operator nms does not exist'
    assert finding.remedy == 'install it again'


@pytest.mark.parametrize(
    ('version', 'words'),
    [
        ('2.5.1', 'older than 2.6.0'),
        ('2.6.0', ''),
        ('2.13.0+cpu', ''),
        ('2.15.0', ''),
        ('2.16.0', 'newer than 2.15.0'),
        ('10.0', 'newer'),
    ],
)
def test_versions_that_were_never_tried_are_named(version, words, monkeypatch):
    monkeypatch.setitem(TRIED, 'torch', ('2.6.0', '2.15.0'))
    assert untried('torch', version).startswith(words)
    assert bool(untried('torch', version)) == bool(words)


def test_an_untried_version_is_no_refusal(monkeypatch):
    monkeypatch.setitem(TRIED, 'pytest', ('1000.0', '1000.0'))
    finding = doctor.examine(doctor.Dependency('pytest', {'pytest': ''}, 'install it again'))
    assert not finding.fatal
    assert 'older than 1000.0, the oldest that tas_mm was tested with' in finding.remedy


def test_the_documentation_states_the_versions_that_were_tried():
    text = (ROOT / 'docs/stack.md').read_text()
    for package, (lowest, highest) in TRIED.items():
        row = next(line for line in text.splitlines() if line.startswith(f'| {package} |'))
        assert row.endswith(f'| {lowest} | {highest} |')
