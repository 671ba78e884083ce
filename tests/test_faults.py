"""The faults of ``make test-faults`` are those of this tree: each applies, and its tests exist."""

import ast
from functools import cache

from tests.faults.fault import ROOT
from tests.faults.table import FAULTS


@cache
def names_in(file: str) -> set[str]:
    """Names of the test functions in a file."""
    return {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}


def test_there_are_many_and_each_has_a_name():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60


def test_every_fault_applies_and_its_tests_exist():
    problems = [(fault.name, why) for fault in FAULTS if (why := fault.why_not())]
    for fault in FAULTS:
        for node in fault.nodes:
            file, _, test = node.partition('::')
            if not (ROOT / file).is_file() or (test and test.partition('[')[0] not in names_in(file)):
                problems.append((fault.name, f'{node} does not exist'))
    assert not problems
