"""Seed the random numbers of an image by its position: samplers and data sets that know the position.

Before every image the generators are set from the seed, the epoch and the image's position in it. So any number of
workers, restarted between epochs or not, and any number of processes draw the same numbers. MMEngine seeds each worker
once, when it starts, so a restarted worker would repeat the first epoch's numbers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Dataset, Sampler


def set_seed(place: str) -> None:
    """Set Python's, numpy's and torch's default generators from a text, hashed by Python (SHA-512).

    Args:
        place (str): Position in the run, as text.
    """
    random.seed(place)
    np.random.seed(random.getrandbits(32))
    # Not torch.manual_seed, which would look for GPUs in a data worker.
    torch.default_generator.manual_seed(random.getrandbits(63))


class PlacedIndex(int):
    """Index of an image with its position in the run."""

    place: str


class PlacedSampler(Sampler):
    """Sampler whose indices include their position.

    Args:
        sampler (Sampler): Any sampler of this process's share of the data.
        seed (int): Seed of the run.
    """

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self.sampler = sampler
        self.run_seed = seed
        self.rank, self.world_size = get_dist_info()
        self.epoch = 0
        self.start = 0
        if hasattr(sampler, 'skip'):  # MMEngine's iteration-based loop calls it, if there is one
            self.skip = self.start_at

    def start_at(self, num_samples: int) -> None:
        """Skip the first ``num_samples`` indices of the next iteration only."""
        self.start = num_samples

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, as in torch's ``DistributedSampler``."""
        self.epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        start, self.start = self.start, 0
        for number, index in itertools.islice(enumerate(self.sampler), start, None):
            if not isinstance(index, Integral):  # an index may be anything, but only numbers get a position
                yield index
                continue
            placed = PlacedIndex(index)
            # Samplers distribute the data in turns, so an image's numbers do not depend on the number of processes.
            placed.place = f'image {self.run_seed}/{self.epoch}/{number * self.world_size + self.rank}'
            yield placed

    def __len__(self) -> int:
        return len(self.sampler)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name in ('sampler', 'skip'):
            raise AttributeError(name)
        return getattr(self.sampler, name)


class PlacedDataset(Dataset):
    """Data set that sets the random generators by the position of each requested image.

    Args:
        dataset (Dataset): Any data set with indices.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, PlacedIndex):
            set_seed(index.place)
            index = int(index)
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __setattr__(self, name: str, value: Any) -> None:
        # Some hooks replace the pipeline.
        object.__setattr__(self if name == 'dataset' else self.dataset, name, value)

    def __getattr__(self, name: str) -> Any:
        # Not __getitems__, with which torch would fetch whole batches from the inner data set.
        if name.startswith('__') or name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)
