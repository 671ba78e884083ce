"""Handwritten digits from scikit-learn: real data without a download, for the quickstart and the tests."""

from __future__ import annotations

import numpy as np
from mmpretrain.datasets import BaseDataset

from tas_mm.registry import DATASETS

from .labeled_subset import few_of_each

TRAIN_SIZE = 1297


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 1,797 digits of ``sklearn.datasets.load_digits`` (UCI, 10 classes), as 8x8 RGB images of 0 to 255.

    The first 1,297 images, in the order of the file, are for training and the last 500 for testing.

    Args:
        split (str): ``'train'`` or ``'test'``.
        num_labeled (int, optional): Number of training images to keep, drawn by ``seed`` and balanced over the classes
            as far as possible. Defaults to None: all.
        seed (int): Seed of the draw. Defaults to 0.
        pipeline (sequence): As in MMPretrain. Defaults to an empty tuple.

    Raises:
        ValueError: If ``split`` is unknown, or ``num_labeled`` is not between 1 and 1,297.
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(
        self, split: str, num_labeled: int | None = None, seed: int = 0, pipeline=(), test_mode: bool = False, **kwargs
    ) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f'Digits: split={split!r}. Expected "train" or "test"')
        if num_labeled is not None and not 1 <= num_labeled <= TRAIN_SIZE:
            raise ValueError(f'Digits: num_labeled={num_labeled}. Expected 1 to {TRAIN_SIZE}')
        self.split = split
        self.num_labeled = num_labeled
        self.seed = seed
        super().__init__(ann_file='', pipeline=pipeline, test_mode=test_mode, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return images ``(8, 8, 3)`` of uint8 and their labels."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None].repeat(3, axis=-1)
        indices = np.arange(TRAIN_SIZE) if self.split == 'train' else np.arange(TRAIN_SIZE, len(images))
        if self.num_labeled is not None:
            indices = indices[few_of_each(digits.target[indices], self.num_labeled, self.seed)]
        return [{'img': images[i], 'gt_label': int(digits.target[i])} for i in indices]
