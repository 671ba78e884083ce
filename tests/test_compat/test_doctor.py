"""The doctor: exit status, families, remedies; also where hardly anything is installed."""

import subprocess
import sys
from pathlib import Path

from tas_mm import doctor

ROOT = Path(__file__).parents[2]


def run(*args, **kwargs):
    return subprocess.run([*args, '-m', 'tas_mm.doctor'], cwd=ROOT, capture_output=True, text=True, **kwargs)


def test_it_passes_here_and_names_every_dependency():
    result = run(sys.executable)
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'tas_mm can run.' in result.stdout
    for dependency in doctor.DEPENDENCIES:
        assert dependency.module in result.stdout
    assert 'maintained fork' in result.stdout or 'upstream' in result.stdout


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
