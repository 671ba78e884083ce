"""A transform that puts a gray image onto a piece of a color photo."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform


@cache
def read_photos(folder: str) -> list[np.ndarray]:
    """Read the photos of a folder in BGR, once for all data sets.

    Raises:
        FileNotFoundError: If the folder has none.
    """
    paths = sorted(Path(folder).glob('*.png'))
    if not paths:
        raise FileNotFoundError(f'OnPhotos.photos={folder!r} has no .png file. Make them: make tree-crowns')
    return [cv2.imread(str(path)) for path in paths]


class OnPhotos(BaseTransform):
    """Put a gray image, moved and turned, onto a piece of a photo: ``|photo - image|`` in each color.

    MNIST-M is made so, of digits and photos (arXiv 1409.7495, section 4). Everything is drawn from the number of the
    image, so the set is the same in every run.

    Args:
        photos (str): Folder of photos (.png), of at least ``max_side`` pixels.
        size (int): Width and height of what comes out. Defaults to 32.
        max_side (int): A piece has a side of ``size`` to ``max_side`` pixels, and is resized. Defaults to 128.
        scales (tuple): Range of the factor on the image's size. Defaults to (0.75, 1.1).
        degrees (float): The image is turned by at most so much. Defaults to 20.0.
        seed (int): Seed of all draws, besides the number of the image. Defaults to 0.

    Examples:
        >>> from projects.color_fashion import OnPhotos
        >>> step = dict(type='projects.color_fashion.OnPhotos', photos='data/tree_crowns/train')  # in a pipeline
    """

    def __init__(
        self,
        photos: str,
        size: int = 32,
        max_side: int = 128,
        scales: tuple[float, float] = (0.75, 1.1),
        degrees: float = 20.0,
        seed: int = 0,
    ) -> None:
        self.photos, self.size, self.max_side = photos, size, max_side
        self.scales, self.degrees, self.seed = scales, degrees, seed

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace ``img``, ``(H, W)`` or ``(H, W, 1)``, by a color image ``(size, size, 3)``, both uint8."""
        rng = np.random.default_rng((self.seed, results['sample_idx']))
        piece = self._piece(rng).astype(int)
        image = self._moved(results['img'].squeeze(), rng).astype(int)
        results['img'] = np.abs(piece - image[..., None]).astype(np.uint8)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def _piece(self, rng: np.random.Generator) -> np.ndarray:
        photos = read_photos(self.photos)
        photo = photos[rng.integers(len(photos))]
        side = rng.integers(self.size, self.max_side + 1)
        top, left = (rng.integers(length - side + 1) for length in photo.shape[:2])
        piece = photo[top : top + side, left : left + side]
        return cv2.resize(piece, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def _moved(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        scale, angle = rng.uniform(*self.scales), rng.uniform(-self.degrees, self.degrees)
        matrix = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), angle, scale)
        matrix[:, 2] += (self.size - np.array(image.shape[::-1])) / 2 + rng.uniform(-2, 2, size=2)
        return cv2.warpAffine(image, matrix, (self.size, self.size))
