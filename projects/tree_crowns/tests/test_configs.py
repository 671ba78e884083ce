"""The detectors of tree crowns, and a picture of what they find; ``make test-detection`` runs these."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tas_mm.config import read_config, without_weights
from tests.detection.checks import check_backbone, check_distillation, check_start, check_step
from tests.detection.data import build_detector, coco

pytestmark = pytest.mark.detection
PROJECT = Path(__file__).parents[1]
DETECTORS = [PROJECT / 'configs' / f'{name}.py' for name in ('retinanet_crowns', 'retinanet_crowns_mobilenetv2')]
NAMES = ('tas', 'tas_maps', 'tas_unlabeled', 'tas_scores', 'tas_pyramid', 'pkd', 'cwd', 'cwd_unlabeled')
INSIDE = [PROJECT / 'configs' / f'retinanet_crowns_{name}.py' for name in NAMES]
START = PROJECT / 'configs' / 'retinanet_crowns.py'
RUNS = sorted(PROJECT.glob('configs/crowns_*.py'))


@pytest.mark.parametrize('path', DETECTORS, ids=lambda path: path.stem)
def test_a_detector_builds_and_takes_a_step(path):
    check_step(path)


@pytest.mark.parametrize('path', INSIDE, ids=lambda path: path.stem)
def test_a_distillation_inside_builds_and_takes_a_step(path, monkeypatch):
    monkeypatch.chdir(PROJECT.parents[1])
    check_distillation(path)


def test_the_detector_starts_from_what_the_distillation_leaves(tmp_path):
    check_start(START, RUNS)
    check_backbone(START, RUNS, tmp_path)


def test_a_picture_has_a_row_for_each_detector(tmp_path, monkeypatch):
    coco(tmp_path / 'data')
    config = tmp_path / 'crowns.py'
    part = "ann_file='annotations/instances_val2017.json', data_prefix=dict(img='val2017/')"
    config.write_text(
        f"_base_ = '{START}'\ntest_dataloader = dict(dataset=dict(data_root='data', metainfo=None, {part}))\n"
    )
    detector = build_detector(without_weights(read_config(str(START)).model.to_dict()))
    for folder in ('distilled', 'alone'):
        (tmp_path / folder).mkdir()
        torch.save(detector.state_dict(), tmp_path / folder / 'epoch_1.pth')
    monkeypatch.chdir(tmp_path)
    options = ['crowns.py', 'distilled/epoch_1.pth', 'alone/epoch_1.pth', '--images', '2', '--score', '0']
    monkeypatch.setattr(sys, 'argv', ['draw_detections.py', *options, '--out', 'out'])
    runpy.run_path(str(PROJECT / 'draw_detections.py'), run_name='__main__')
    with Image.open('out/detections.png') as picture:
        assert picture.width > picture.height / 2
