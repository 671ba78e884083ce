"""Small networks that every test can build in a moment.

What takes seconds to import is imported in functions: the process that hands out tests to others reads this file, too.
"""

from __future__ import annotations

import gc

import pytest

from tests.faults.table import FAULTS

NAMED = {node for fault in FAULTS for node in fault.nodes}
"""Tests, or cases of tests, that must catch a planted fault."""


def pytest_collectstart() -> None:
    """Adapt the stack before a test imports it."""
    import tas_mm  # noqa: F401


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test` leaves to `make test-all`: all cases of a test but its first and its last. Sort the rest.

    Cases that a planted fault names stay, and so do tests with a choice of their own: the mark ``every_case``.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        chosen = any(item.get_closest_marker(mark) for mark in ('every_case', 'all_pairs', 'all_configs'))
        if hasattr(item, 'callspec') and not chosen:
            cases.setdefault(item.nodeid.partition('[')[0], []).append(item)
    for name, found in cases.items():
        if name not in NAMED and name.partition('::')[0] not in NAMED:
            for item in found[1:-1]:
                if item.nodeid not in NAMED:
                    item.add_marker('more_cases')
    # Long ones first: what is left at the end is handed from worker to worker, and fixtures of a module with it.
    items.sort(key=lambda item: '/test_tools/' not in item.nodeid)


def pytest_collection_finish() -> None:
    """Take what is imported out of garbage collection, which every dataset runs for half a second; start the tools."""
    from tests.tools import tools

    gc.freeze()
    tools()


@pytest.fixture(autouse=True)
def _deterministic_and_quiet():
    import torch
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope

    torch.manual_seed(0)
    MMLogger.get_current_instance().setLevel('WARNING')
    yield
    DefaultScope._instance_dict.clear()  # a runner leaves its own behind, for all tests that follow


@pytest.fixture
def logged(caplog):
    """Collect the messages of MMEngine's logger, which do not reach the root logger."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def build():
    """Build a classifier from a config, as MMPretrain would."""
    from mmengine.registry import MODELS, DefaultScope

    def build(cfg: dict):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(cfg)
            model.init_weights()
        return model

    return build


@pytest.fixture
def build_tas():
    """Build TAS for a student and a teacher config."""
    from tas_mm.registry import MODELS

    def build(student: dict, teacher: dict, **kwargs):
        algorithm = MODELS.build(dict(type='tas_mm.TAS', architecture=student, teacher=teacher, **kwargs))
        algorithm.init_weights()
        return algorithm.train()

    return build


@pytest.fixture
def batch():
    """Four random images and their labels."""
    import torch

    from tests.networks import NUM_CLASSES, SIZE, samples

    return torch.randn(4, 3, SIZE, SIZE), samples([i % NUM_CLASSES for i in range(4)])
