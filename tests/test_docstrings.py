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


def test_every_class_that_a_user_types_has_an_example():
    models = importlib.import_module('tas_mm.models')
    typed = ('TAS', 'TASDistiller', 'PairDistiller', 'HybridAssistant', 'L2GProjector', 'InfoNCELoss', 'OFALoss')
    for name in typed:
        assert '>>> ' in getattr(models, name).__doc__, name
