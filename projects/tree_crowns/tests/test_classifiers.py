"""The classifiers of tree crowns: each config builds and takes a step; teacher and student see the same images."""

from pathlib import Path

import pytest

from tas_mm.analysis.trial import build_model, synthetic_batch, train_step
from tas_mm.config import read_config

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(ROOT.glob('projects/tree_crowns/configs/crowns_*.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_and_takes_a_step(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = build_model(read_config(str(path)))
    losses = train_step(model, synthetic_batch(model, 4, (80, 80)), strict=True)
    assert losses['unused_parameters'] == 0


def test_the_student_alone_has_the_recipe_of_the_distilled_one():
    alone, distilled = (
        read_config(str(ROOT / f'projects/tree_crowns/configs/crowns_{x}.py')) for x in ('alone', 'tas')
    )
    assert distilled.model.pop('architecture') == alone.pop('model')
    distilled.pop('model'), distilled.pop('val_cfg'), alone.pop('val_cfg')
    assert distilled.to_dict() == alone.to_dict()
