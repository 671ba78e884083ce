"""The composed set: the same in every run, photos to test apart; its configs and its suite build."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from projects.color_fashion import OnPhotos
from tas_mm.analysis.benchmark.fingerprint import fingerprint
from tas_mm.analysis.benchmark.results import fill_page
from tas_mm.analysis.benchmark.run import TRAINED_BY
from tas_mm.analysis.benchmark.suite import Suite
from tas_mm.analysis.trial import build_model, synthetic_batch, train_step
from tas_mm.config import read_config, without_weights
from tas_mm.recipes.sources import build_classifier_from

ROOT = Path(__file__).parents[3]
PAIRS = sorted(ROOT.glob('projects/color_fashion/configs/mobilenetv2_to_*.py'))


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with a blue photo, in OpenCV's order of colors."""
    cv2.imwrite(str(tmp_path / 'blue.png'), np.full((140, 150, 3), (200, 20, 10), dtype=np.uint8))
    return tmp_path


def composed(photos: Path, number: int, image: np.ndarray, **options) -> np.ndarray:
    return OnPhotos(str(photos), **options)(dict(img=image, sample_idx=number))['img']


def test_an_image_is_the_difference_of_photo_and_garment(photos):
    white = np.full((28, 28), 255, dtype=np.uint8)
    image = composed(photos, 3, white)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert image[16, 16].tolist() == [55, 235, 245]  # 255 less the photo's color
    assert (image == [200, 20, 10]).all(axis=2).any()  # and the photo beside the garment


def test_it_depends_on_the_number_of_the_image_alone(photos):
    garment = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    first = composed(photos, 3, garment)
    composed(photos, 4, garment)
    assert (composed(photos, 3, garment) == first).all()
    assert (composed(photos, 4, garment) != first).any()
    assert (composed(photos, 3, garment, seed=1) != first).any()


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"OnPhotos.photos='{tmp_path}' has no .png file. Make them: make"):
        composed(tmp_path, 0, np.zeros((28, 28), dtype=np.uint8))


@pytest.mark.parametrize('path', PAIRS, ids=lambda path: path.stem)
def test_a_pair_takes_a_step_and_tests_on_other_photos(path):
    config = read_config(str(path))
    train, test = config.train_dataloader.dataset.dataset.pipeline, config.test_dataloader.dataset.pipeline
    assert (train[0].photos, test[0].photos) == ('data/tree_crowns/train', 'data/tree_crowns/test')
    assert config.val_dataloader.dataset.dataset.pipeline[0].photos == 'data/tree_crowns/train'
    config.model.teacher = without_weights(read_config(config.model.teacher).model.to_dict())
    config.model.teacher_ckpt = None
    model = build_model(config)
    assert train_step(model, synthetic_batch(model), strict=True)['unused_parameters'] == 0


def test_the_kept_teacher_is_what_its_config_trains():
    cfg = read_config('projects/color_fashion/configs/teacher.py')
    folder = Path('projects/color_fashion/teacher')
    assert (folder / TRAINED_BY).read_text() == fingerprint(cfg)
    weights = torch.load(folder / f'iter_{cfg.train_cfg.max_iters}.pth')['state_dict']
    build_classifier_from(without_weights(cfg.model.to_dict())).load_state_dict(weights)


def test_every_method_sees_the_teacher_at_its_size(tmp_path):
    suite = Suite('projects/color_fashion/configs/suite.py', tmp_path)
    assert len(suite.runs) == 2 * 10 * 3 * 2
    distillers = [run.cfg.model.distiller for run in suite.runs if run.method != 'alone']
    assert {distiller.teacher_size for distiller in distillers} == {64}
    assert [*map(str, suite.teachers)] == ['projects/color_fashion/teacher/iter_1500.pth']


def test_the_page_shows_what_the_raw_lines_say(tmp_path):
    rows = [json.loads(line) for line in Path('projects/color_fashion/results.jsonl').read_text().splitlines()]
    page = Path('projects/color_fashion/README.md').read_text()
    assert '<!-- accuracy: labels_1000 -->' in page
    assert fill_page(page, rows, 'tas, best') == page
    known = {run.key for run in Suite('projects/color_fashion/configs/suite.py', tmp_path).runs}
    assert {row['run'] for row in rows} <= known
