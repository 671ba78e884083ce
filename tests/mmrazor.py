"""MMRazor's own tests of distillation, run with ``import tas_mm`` first.

``python -m tests.mmrazor PATH`` runs those that are in ``PATH``, the folder ``tests`` of MMRazor 1.0.0: all in a
checkout, those of the algorithms in the source distribution. What fails must be in ``FAILS``, and what is there must
fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

# The algorithms first: their toy models are registered under the names of others'.
TESTS = (
    *(
        f'test_models/test_algorithms/test_{name}.py'
        for name in ('base_algorithm', 'datafree_distill', 'ofd_algo', 'self_distill', 'single_teacher_distill')
    ),
    'test_models/test_architectures/test_connectors',
    'test_models/test_architectures/test_generators',
    'test_models/test_distillers',
    'test_models/test_losses',
    'test_core/test_delivers',
    'test_core/test_recorders',
    'test_engine/test_hooks/test_stop_distillation_hook.py',
)
OLD_LOAD = "reads MMEngine's checkpoint by torch.load, which refuses it since torch 2.6"
FAILS = {
    'test_distillation_losses.TestLosses.test_dafl_loss': (
        'expects a RuntimeError without a process group, where current torch raises a ValueError'
    ),
    'test_func_inputs_recorder.TestFuncInputsRecorder.test_ema_hook': OLD_LOAD,
    'test_function_outputs_deliver.TestFuncOutputsDeliver.test_ema_hook': OLD_LOAD,
}
"""File, class and name of tests that fail without tas_mm too, and why."""


def results(folder: Path, tests: list[str]) -> dict[str, bool]:
    """Run tests, and return which of them passed, by file, class and name."""
    with tempfile.TemporaryDirectory() as elsewhere:  # where Python does not find MMRazor's sources by itself
        report = Path(elsewhere) / 'report.xml'
        command = [sys.executable, '-m', 'pytest', '-q', '-p', 'tas_mm', '-p', 'no:cacheprovider', '-W', 'ignore']
        command += ['--tb=short', f'--junitxml={report}', '--rootdir', str(folder.parent)]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, (Path(__file__).parents[1],))))
        subprocess.run([*command, *(str(folder / test) for test in tests)], cwd=elsewhere, env=environment)
        cases = ElementTree.parse(report).iter('testcase')
        return {
            '.'.join([*case.get('classname', '').split('.')[-2:], case.get('name', '')]): len(list(case)) == 0
            for case in cases
        }


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else '').absolute()
    tests = [test for test in TESTS if (folder / test).exists()]
    if not tests:
        print(f'{folder} has none of the tests of MMRazor. Expected the folder tests of MMRazor 1.0.0')
        return 1
    passed = results(folder, tests)
    failed = {name for name, ok in passed.items() if not ok}
    for name in sorted(failed & set(FAILS)):
        print(f'fails without tas_mm too: {name} {FAILS[name]}')
    for name in sorted(failed - set(FAILS)):
        print(f'FAILS, and is not listed: {name}')
    for name in sorted((passed.keys() - failed) & set(FAILS)):
        print(f'PASSES, though it is listed as failing: {name}')
    absent = ', '.join(test for test in TESTS if test not in tests)
    print(f'{len(passed)} tests of MMRazor, {len(failed)} fail; not there: {absent or "none"}')
    return int(failed != set(FAILS) & passed.keys())


if __name__ == '__main__':
    raise SystemExit(main())
