"""The examples in docstrings run, and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import tas_mm

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules():
    """Names of the package's modules whose docstrings have an example."""
    found = [info.name for info in pkgutil.walk_packages(tas_mm.__path__, 'tas_mm.')]
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [name for name in found if any(case.examples for case in finder.find(importlib.import_module(name)))]


@pytest.mark.parametrize('name', modules())
def test_examples_of_a_module(name):
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert tried
    assert not failed


NOT_TYPED = {
    'DetectorTAS',
    'DetectorView',
    'DistillerGroup',
    'FrozenTeacher',
    'HuggingFaceBackbone',
    'Knowledge',
    'Observation',
    'SegmentorView',
    'StageView',
}
NOT_TYPED |= {'build_student', 'components', 'interface_of', 'student_model', 'warn_of_components'}
"""Public names that tas_mm makes by itself, or that need a download or MMDetection."""


@pytest.mark.parametrize('name', ['tas_mm.models', 'tas_mm.student'])
def test_everything_that_a_user_types_has_an_example(name):
    module = importlib.import_module(name)
    without = [each for each in module.__all__ if '>>> ' not in getattr(module, each).__doc__]
    assert set(without) <= NOT_TYPED
