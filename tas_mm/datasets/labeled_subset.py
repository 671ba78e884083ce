"""Parts of a data set, for small label budgets and for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init

from tas_mm.registry import DATASETS


def few_of_each(labels: Sequence[int], number: int, seed: int = 0) -> np.ndarray:
    """Draw the positions of ``number`` items by ``seed``, balanced over the classes as far as possible.

    Args:
        labels (sequence): Class of every item.
        number (int): Number of items to draw.
        seed (int): Seed of the draw. Defaults to 0.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    # One of each class per round: rank every item within its class, then take the lowest ranks.
    drawn = np.asarray(labels)[order]
    rank = np.empty(len(order), dtype=int)
    for label in np.unique(drawn):
        mask = drawn == label
        rank[mask] = np.arange(mask.sum())
    return order[np.argsort(rank, kind='stable')[:number]]


@DATASETS.register_module()
class LabeledSubset:
    """Items ``start`` to ``stop`` of a data set, or a balanced draw from them.

    Args:
        dataset (dict | BaseDataset): The data set to take from.
        start (int): First item. Defaults to 0.
        stop (int, optional): One after the last item. Defaults to None: to the end.
        num_labeled (int, optional): Number of items to keep, drawn by ``seed`` and balanced over the classes as far as
            possible. Defaults to None: all.
        seed (int): Seed of the draw. Defaults to 0.

    Raises:
        ValueError: If the part is empty, or has fewer than ``num_labeled`` items.
    """

    def __init__(
        self,
        dataset: dict | BaseDataset,
        start: int = 0,
        stop: int | None = None,
        num_labeled: int | None = None,
        seed: int = 0,
    ) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.start, self.stop = start, stop
        self.num_labeled = num_labeled
        self.seed = seed
        self._fully_initialized = False
        self.full_init()

    def full_init(self) -> None:
        """Load the data set and keep only this part of it."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        part = np.arange(len(self.dataset))[self.start : self.stop]
        least = self.num_labeled or 1
        if len(part) < least:
            raise ValueError(
                f'LabeledSubset: start={self.start}, stop={self.stop} leave {len(part)} of {len(self.dataset)} items, '
                + (f'but num_labeled={self.num_labeled}' if self.num_labeled else 'so none')
            )
        if self.num_labeled is not None:
            labels = [int(self.dataset.get_data_info(int(i))['gt_label']) for i in part]
            part = part[few_of_each(labels, self.num_labeled, self.seed)]
        self.dataset = self.dataset.get_subset(part.tolist())
        self._fully_initialized = True

    @property
    def metainfo(self) -> dict:
        """Metadata of the data set."""
        return self.dataset.metainfo

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Return the annotation of an item."""
        return self.dataset.get_data_info(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict:
        return self.dataset[idx]
