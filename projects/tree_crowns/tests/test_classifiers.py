"""Training of the tree crowns' backbones: each config builds and takes a step, for as many steps."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tas_mm.analysis.trial import build_model, synthetic_batch, train_step
from tas_mm.config import read_config

ROOT = Path(__file__).parents[3]
CONFIGS = {'crowns_alone': (80, 80), 'crowns_label_free': (96, 96)}


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_builds_and_takes_a_step(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = build_model(read_config(f'projects/tree_crowns/configs/{name}.py'))
    losses = train_step(model, synthetic_batch(model, 4, CONFIGS[name]), strict=True)
    assert losses['unused_parameters'] == 0


@pytest.mark.parametrize('name', CONFIGS)
def test_a_runner_takes_a_config(name, monkeypatch, tmp_path):
    """It wants a loop for every dataloader and evaluator."""
    monkeypatch.chdir(ROOT)
    config = read_config(f'projects/tree_crowns/configs/{name}.py')
    Runner.from_cfg(Config(dict(config, work_dir=str(tmp_path), model=torch.nn.Identity())))


def test_the_student_trains_as_long_with_labels_as_without():
    alone, free = (read_config(str(ROOT / f'projects/tree_crowns/configs/{name}.py')) for name in CONFIGS)
    assert free.model.architecture.backbone == alone.model.backbone
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert free[key] == alone[key]
    assert free.train_dataloader.batch_size == alone.train_dataloader.batch_size
