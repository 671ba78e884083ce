"""Make a small detection data set, and crops for a classifier, from the aerial photos in the package deepforest.

    pip install --no-deps --target data/tree_crowns/packages deepforest==2.1.0
    python projects/tree_crowns/make_data.py data/tree_crowns/packages/deepforest/data data/tree_crowns

Four photos with 951 boxes around tree crowns (Pascal VOC, MIT license). Each is split within itself: the left 65 % are
for training, the right third is for testing. The same photos always give the same files:

- ``train/``, ``test/`` and ``annotations/{train,test}.json``: tiles of at most 256 px and their boxes in COCO's format.
  Tiles for training overlap by half or more, those for testing not at all.
- ``crops/{train,test}/{background,crown}/``: images of 96 px in MMPretrain's layout, each with a crown in its middle,
  or with next to none in it; as many of either from each photo where it has room.
- ``photos/``: copies of the four photos and their boxes, to cut again.
- ``unlabeled/``: all crops of 96 px of the training parts, a third of a crop apart, for distillation without labels.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

TILE = 256
CROP = 96
STEP = CROP // 3
"""Distance of the crops without labels."""
PARTS = dict(train=(0.0, 0.65), test=(2 / 3, 1.0))
"""Beginning and end of each part, in widths of the photo."""
LEAST_VISIBLE = 0.5
"""Share of a box that a tile must show; other boxes are marked as crowds, which COCO's evaluation ignores."""
LARGEST_COVER = 0.05
"""Share of a background crop that crowns may cover."""
CATEGORY = dict(id=1, name='tree')


def read_boxes(path: Path) -> np.ndarray:
    """Read the boxes of a Pascal VOC file, ``(N, 4)``: left, top, right and bottom in pixels."""
    names = ('xmin', 'ymin', 'xmax', 'ymax')
    boxes = ElementTree.parse(path).getroot().iter('bndbox')
    return np.array([[float(box.find(name).text) for name in names] for box in boxes]).reshape(-1, 4)


def spans(start: int, stop: int, size: int, overlap: bool) -> list[tuple[int, int]]:
    """Cover a line evenly with pieces.

    Args:
        start (int): Where the line begins.
        stop (int): Where it ends.
        size (int): Length of a piece; a shorter line is one piece.
        overlap (bool): If True, pieces have that length and overlap by half of it or more. If False, they do not
            overlap, and may be shorter.
    """
    if stop - start <= size:
        return [(start, stop)]
    if overlap:
        count = 1 + math.ceil((stop - start - size) / (size / 2))
        return [(a, a + size) for a in np.linspace(start, stop - size, count).round().astype(int).tolist()]
    edges = np.linspace(start, stop, 1 + math.ceil((stop - start) / size)).round().astype(int).tolist()
    return list(zip(edges, edges[1:]))


def boxes_within(boxes: np.ndarray, window: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes to a window.

    Args:
        boxes (np.ndarray): Boxes of a photo, ``(N, 4)``.
        window (tuple): Left, top, right and bottom.

    Returns:
        tuple: The visible boxes, cut off at the window's borders and in its coordinates, ``(M, 4)``; and the visible
        share of the area of each, ``(M, )``.
    """
    left, top, right, bottom = window
    cut = np.clip(boxes, (left, top, left, top), (right, bottom, right, bottom))
    sides, whole = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    seen = (sides >= 1).all(axis=1)
    return cut[seen] - (left, top, left, top), sides[seen].prod(axis=1) / whole[seen].prod(axis=1)


def part_of(width: int, part: str) -> tuple[int, int]:
    """Return the first column of a part of a photo, and the one after its last."""
    return tuple(round(width * share) for share in PARTS[part])


def make_tiles(photos: dict[str, tuple[Image.Image, np.ndarray]], part: str, out: Path) -> dict:
    """Write the tiles of a part of all photos, and return their annotations in COCO's format."""
    (out / part).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for name, (photo, boxes) in photos.items():
        overlap = part == 'train'
        for left, right in spans(*part_of(photo.width, part), TILE, overlap):
            for top, bottom in spans(0, photo.height, TILE, overlap):
                file = f'{name}_{left}_{top}.png'
                photo.crop((left, top, right, bottom)).save(out / part / file)
                images.append(dict(id=len(images), file_name=file, width=right - left, height=bottom - top))
                for (x0, y0, x1, y1), visible in zip(*boxes_within(boxes, (left, top, right, bottom))):
                    annotations.append(
                        dict(
                            id=len(annotations) + 1,  # 0 means none to pycocotools
                            image_id=images[-1]['id'],
                            category_id=CATEGORY['id'],
                            bbox=[x0, y0, x1 - x0, y1 - y0],
                            area=(x1 - x0) * (y1 - y0),
                            iscrowd=int(visible < LEAST_VISIBLE),
                        )
                    )
    return dict(images=images, annotations=annotations, categories=[CATEGORY])


def crown_windows(boxes: np.ndarray, area: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield a window around each crown whose middle is in an area, moved so that it stays inside."""
    left, top, right, bottom = area
    for x, y in (boxes[:, :2] + boxes[:, 2:]) / 2:
        if left <= x < right and top <= y < bottom:
            x0 = min(max(round(x) - CROP // 2, left), right - CROP)
            y0 = min(max(round(y) - CROP // 2, top), bottom - CROP)
            yield x0, y0, x0 + CROP, y0 + CROP


def background_windows(boxes: np.ndarray, area: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the windows of a grid over an area that have next to no crowns."""
    left, top, right, bottom = area
    for y0, y1 in spans(top, bottom, CROP, overlap=True):
        for x0, x1 in spans(left, right, CROP, overlap=True):
            covered = np.zeros((CROP, CROP), dtype=bool)
            for a, b, c, d in boxes_within(boxes, (x0, y0, x1, y1))[0].round().astype(int):
                covered[b:d, a:c] = True
            if covered.mean() <= LARGEST_COVER:
                yield x0, y0, x1, y1


def make_crops(photos: dict[str, tuple[Image.Image, np.ndarray]], part: str, out: Path) -> dict[str, int]:
    """Write the crops of a part of all photos, and return how many each class has."""
    counts = dict(background=0, crown=0)
    for name, (photo, boxes) in photos.items():
        left, right = part_of(photo.width, part)
        area = (left, 0, right, photo.height)
        found = dict(crown=list(crown_windows(boxes, area)), background=list(background_windows(boxes, area)))
        crowns, others = len(found['crown']), len(found['background'])
        chosen = np.linspace(0, others - 1, min(crowns, others)).round().astype(int) if others else []
        found['background'] = [found['background'][i] for i in chosen]
        for kind, windows in found.items():
            folder = out / 'crops' / part / kind
            folder.mkdir(parents=True, exist_ok=True)
            for i, window in enumerate(windows):
                photo.crop(window).save(folder / f'{name}_{i:03d}.png')
            counts[kind] += len(windows)
    return counts


def make_unlabeled(photos: dict[str, tuple[Image.Image, np.ndarray]], out: Path) -> int:
    """Write crops of the training parts, whatever they show, and return how many there are."""
    (out / 'unlabeled').mkdir(parents=True, exist_ok=True)
    count = 0
    for name, (photo, _) in photos.items():
        left, right = part_of(photo.width, 'train')
        for top in range(0, photo.height - CROP + 1, STEP):
            for x in range(left, right - CROP + 1, STEP):
                photo.crop((x, top, x + CROP, top + CROP)).save(out / 'unlabeled' / f'{name}_{x}_{top}.jpg', quality=95)
                count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photos', type=Path, help='folder with *.png and, beside each, *.xml; others are left out')
    parser.add_argument('out', type=Path, help='folder to write to')
    args = parser.parse_args()
    photos = {
        path.stem: (Image.open(path.with_suffix('.png')).convert('RGB'), read_boxes(path))
        for path in sorted(args.photos.glob('*.xml'))
        if path.with_suffix('.png').is_file()
    }
    if not photos:
        parser.error(f'{args.photos} holds no photo *.png with boxes *.xml; name the folder deepforest/data')
    for folder in ('annotations', 'photos'):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    for name in photos:
        for kind in ('.png', '.xml'):
            shutil.copy(args.photos / f'{name}{kind}', args.out / 'photos')
    for part in PARTS:
        coco = make_tiles(photos, part, args.out)
        (args.out / 'annotations' / f'{part}.json').write_text(json.dumps(coco))
        counted = sum(not box['iscrowd'] for box in coco['annotations'])
        crops = ', '.join(f'{count} {kind}' for kind, count in make_crops(photos, part, args.out).items())
        print(f'{part}: {len(coco["images"])} tiles with {counted} boxes; crops: {crops}')
    print(f'unlabeled: {make_unlabeled(photos, args.out)} crops of the training parts')


if __name__ == '__main__':
    main()
