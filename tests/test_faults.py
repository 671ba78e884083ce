"""The faults of ``make test-faults`` are those of this tree: each applies, and its tests exist."""

import ast
from functools import cache

import pytest

from tests.faults.fault import ROOT
from tests.faults.table import FAULTS


@cache
def names_in(file: str) -> set[str]:
    """Names of the test functions in a file."""
    return {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}


def test_there_are_many_and_each_has_a_name():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60


@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: fault.name)
def test_a_fault_applies_and_its_tests_exist(fault):
    assert fault.why_not() is None
    for node in fault.nodes:
        file, _, test = node.partition('::')
        assert (ROOT / file).is_file(), node
        assert not test or test.partition('[')[0] in names_in(file), node
