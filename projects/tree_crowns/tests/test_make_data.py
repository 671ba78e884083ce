"""make_data.py: boxes end where a tile ends, parts share no pixel, the same photos give the same files."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = str(Path(__file__).parents[1] / 'make_data.py')
NAMES = runpy.run_path(TOOL)
BOXES = [(10, 20, 50, 60), (540, 100, 580, 140), (900, 30, 940, 70), (30, 400, 70, 440)]
BACKGROUND, CROWN = (90, 90, 90), (0, 200, 0)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A photo of four green crowns on gray, 1000 x 600, and what the tool makes of it."""
    folder = tmp_path_factory.mktemp('crowns')
    photo = Image.new('RGB', (1000, 600), BACKGROUND)
    objects = ''
    for box in BOXES:
        photo.paste(CROWN, box)
        sides = ''.join(f'<{name}>{side}</{name}>' for name, side in zip(('xmin', 'ymin', 'xmax', 'ymax'), box))
        objects += f'<object><name>Tree</name><bndbox>{sides}</bndbox></object>'
    (folder / 'photos').mkdir()
    photo.save(folder / 'photos' / 'wood.png')
    (folder / 'photos' / 'wood.xml').write_text(f'<annotation>{objects}</annotation>')
    Image.new('RGB', (8, 8)).save(folder / 'photos' / 'unlabeled.png')
    run(folder / 'photos', folder / 'out')
    return folder


def run(*arguments) -> None:
    before, sys.argv = sys.argv, [TOOL, *map(str, arguments)]
    try:
        runpy.run_path(TOOL, run_name='__main__')
    finally:
        sys.argv = before


def annotations(made: Path, part: str) -> dict:
    return json.loads((made / 'out' / 'annotations' / f'{part}.json').read_text())


@pytest.mark.parametrize('part', ['train', 'test'])
def test_a_box_is_what_its_tile_shows_of_a_crown(made, part):
    """The green pixels of every tile are those in its boxes, to the pixel."""
    coco = annotations(made, part)
    assert {box['image_id'] for box in coco['annotations']} <= {image['id'] for image in coco['images']}
    for image in coco['images']:
        pixels = np.asarray(Image.open(made / 'out' / part / image['file_name']))
        assert pixels.shape[:2] == (image['height'], image['width'])
        shown = np.zeros(pixels.shape[:2], dtype=bool)
        for box in coco['annotations']:
            if box['image_id'] == image['id']:
                x, y, w, h = map(int, box['bbox'])
                assert box['area'] == w * h > 0
                shown[y : y + h, x : x + w] = True
        assert (shown == (pixels == CROWN).all(axis=2)).all(), image


def test_a_box_of_which_less_than_half_is_seen_is_not_counted(made):
    found = annotations(made, 'train')['annotations'] + annotations(made, 'test')['annotations']
    assert {box['iscrowd'] for box in found} == {0, 1}
    assert all(box['iscrowd'] == (box['area'] < 40 * 40 / 2) for box in found)
    boxes, visible = NAMES['boxes_within'](np.array(BOXES, dtype=float), (40, 0, 296, 256))
    assert boxes.tolist() == [[0, 20, 10, 60]]
    assert visible.tolist() == [0.25]


def test_parts_share_no_pixel_and_test_tiles_cover_theirs_once(made):
    left, right = NAMES['part_of'](1000, 'test')
    assert NAMES['part_of'](1000, 'train') == (0, 650)
    assert (left, right) == (667, 1000)
    covered = np.zeros((600, 1000), dtype=int)
    for image in annotations(made, 'test')['images']:
        x, y = map(int, Path(image['file_name']).stem.split('_')[1:])
        covered[y : y + image['height'], x : x + image['width']] += 1
    assert (covered[:, left:right] == 1).all()
    assert not covered[:, :left].any()
    for image in annotations(made, 'train')['images']:
        assert (image['width'], image['height']) == (256, 256)
        assert int(Path(image['file_name']).stem.split('_')[1]) + 256 <= 650


@pytest.mark.parametrize(
    ('line', 'overlap', 'expected'),
    [
        ((0, 200), True, [(0, 200)]),
        ((0, 256), False, [(0, 256)]),
        ((10, 400), True, [(10, 266), (77, 333), (144, 400)]),
        ((0, 600), False, [(0, 200), (200, 400), (400, 600)]),
    ],
)
def test_spans(line, overlap, expected):
    assert NAMES['spans'](*line, 256, overlap) == expected


def test_crops_show_a_crown_in_the_middle_or_none(made):
    counts = {}
    for part in ('train', 'test'):
        for kind in ('crown', 'background'):
            crops = sorted((made / 'out' / 'crops' / part / kind).iterdir())
            counts[part, kind] = len(crops)
            for path in crops:
                green = (np.asarray(Image.open(path)) == CROWN).all(axis=2)
                assert green.shape == (96, 96)
                assert green.mean() > 0.1 if kind == 'crown' else green.mean() <= 0.05
    assert counts == {('train', k): 3 for k in ('crown', 'background')} | {
        ('test', k): 1 for k in ('crown', 'background')
    }


def test_the_same_photos_give_the_same_files(made):
    run(made / 'photos', made / 'again')
    first, again = ({p.relative_to(made / out): p for p in (made / out).rglob('*.*')} for out in ('out', 'again'))
    assert first.keys() == again.keys()
    assert all(path.read_bytes() == again[name].read_bytes() for name, path in first.items())


def test_a_folder_without_photos_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, tmp_path / 'out')
    assert 'name the folder deepforest/data' in capsys.readouterr().err
