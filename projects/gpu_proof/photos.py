"""Photos to train on: crops of the two that scikit-learn carries, as JPEG files in folders by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (500, 375)
"""Width and height, about those of ImageNet's photos."""


def make_photos(folder: Path, number: int = 128, classes: int = 8, size: tuple[int, int] = SIZE) -> None:
    """Write photos, unless they are there; the same arguments always give the same photos.

    Args:
        folder (Path): Gets ``class_*/*.jpg``.
        number (int): Number of photos. Defaults to 128.
        classes (int): Number of folders. Defaults to 8.
        size (tuple): Width and height. Defaults to those of ImageNet's photos, about.
    """
    if len(list(folder.glob('*/*.jpg'))) >= number:
        return
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    random = np.random.default_rng(0)
    for i in range(number):
        photo = photos[i % len(photos)]
        scale = random.uniform(0.5, 0.8)
        width, height = (int(scale * length) for length in photo.size)
        left, top = (int(random.integers(0, whole - part)) for whole, part in zip(photo.size, (width, height)))
        path = folder / f'class_{i % classes}' / f'{i:04}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.resize(size, box=(left, top, left + width, top + height)).save(path, quality=90)
