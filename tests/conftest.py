"""Small networks that every test can build in a moment."""

from __future__ import annotations

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope

import tas_mm  # noqa: F401
from tests.networks import NUM_CLASSES, SIZE, samples


@pytest.fixture(autouse=True)
def _deterministic_and_quiet():
    torch.manual_seed(0)
    MMLogger.get_current_instance().setLevel('WARNING')
    yield
    DefaultScope._instance_dict.clear()  # a runner leaves its own behind, for all tests that follow


@pytest.fixture
def logged(caplog):
    """Collect the messages of MMEngine's logger, which do not reach the root logger."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def build():
    """Build a classifier from a config, as MMPretrain would."""

    def build(cfg: dict):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(cfg)
            model.init_weights()
        return model

    return build


@pytest.fixture
def build_tas():
    """Build TAS for a student and a teacher config."""

    def build(student: dict, teacher: dict, **kwargs):
        algorithm = MODELS.build(dict(type='tas_mm.TAS', architecture=student, teacher=teacher, **kwargs))
        algorithm.init_weights()
        return algorithm.train()

    return build


@pytest.fixture
def batch():
    """Four random images and their labels."""
    return torch.randn(4, 3, SIZE, SIZE), samples([i % NUM_CLASSES for i in range(4)])
