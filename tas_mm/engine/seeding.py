"""Random numbers of an image, by its place in the run: samplers and data sets that know the place.

Before every image the generators are set from the seed, the epoch and the image's place in it. So any number of data
workers, alive between epochs or not, and any number of processes draw the same. MMEngine seeds each worker once, when
it starts, so a restarted one begins again with the first epoch's numbers.
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
    """Set Python's, numpy's and torch's default generators from a text, which Python hashes (SHA-512).

    Args:
        place (str): The place in the run.
    """
    random.seed(place)
    np.random.seed(random.getrandbits(32))
    # Not torch.manual_seed, which in a data worker would look for GPUs.
    torch.default_generator.manual_seed(random.getrandbits(63))


class PlacedIndex(int):
    """Index of an image that carries its place in the run."""

    place: str


class PlacedSampler(Sampler):
    """Sampler whose indices carry their place.

    Args:
        sampler (Sampler): Any sampler of this process's share of the data.
        seed (int): The run's.
    """

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self.sampler = sampler
        self.run_seed = seed
        self.rank, self.world_size = get_dist_info()
        self.epoch = 0
        self.start = 0
        if hasattr(sampler, 'skip'):  # MMEngine's loop by iterations asks the sampler to, where it can
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
            if not isinstance(index, Integral):  # a data set may be asked by anything, but only a number takes a place
                yield index
                continue
            placed = PlacedIndex(index)
            # The samplers deal the data out in turns, so an image is drawn alike however many processes there are.
            placed.place = f'image {self.run_seed}/{self.epoch}/{number * self.world_size + self.rank}'
            yield placed

    def __len__(self) -> int:
        return len(self.sampler)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name in ('sampler', 'skip'):
            raise AttributeError(name)
        return getattr(self.sampler, name)


class PlacedDataset(Dataset):
    """Data set that sets the random generators by the place of each image that is requested.

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
        # Some hooks exchange the pipeline.
        object.__setattr__(self if name == 'dataset' else self.dataset, name, value)

    def __getattr__(self, name: str) -> Any:
        # Not __getitems__, by which torch would fetch whole batches from the one inside.
        if name.startswith('__') or name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)
