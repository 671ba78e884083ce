"""Random numbers that depend on the seed and the place in the run alone, not on what ran before.

Before every training step Python's, numpy's and torch's generators are set from the seed, the process and the number
of the step (dropout, DropPath, mixup). Before every image they are set from the seed, the epoch and the image's place
in it (augmentation). So there is no state to save or to lose: a resumed run draws what an uninterrupted one draws, at
any step, in every process, and with any number of data workers, alive between epochs or not. MMEngine seeds each
worker once, when it starts, so that a restarted one begins again with the first epoch's numbers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler

from tas_mm.registry import HOOKS


def set_seed(place: str) -> None:
    """Set Python's, numpy's and torch's default generators from a text, which Python hashes (SHA-512)."""
    random.seed(place)
    np.random.seed(random.getrandbits(32))
    # Not torch.manual_seed, which in a data worker would look for GPUs.
    torch.default_generator.manual_seed(random.getrandbits(63))


class PlacedIndex(int):
    """The index of an image, with its place in the run."""

    place: str


class PlacedSampler(Sampler):
    """A sampler whose indices know their place.

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
        """Leave out the first so many indices, next time and no more."""
        self.start = num_samples

    def set_epoch(self, epoch: int) -> None:
        """As in torch's ``DistributedSampler``."""
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
    """A data set that sets the random generators by the place of the image that it is asked for.

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


def _source(loader: DataLoader) -> DataLoader | BatchSampler:
    """What holds the sampler that images come from.

    With a batch sampler in the config ``loader.sampler`` is a ``SequentialSampler`` of torch's that nobody asks.
    """
    return loader.batch_sampler if hasattr(loader.batch_sampler, 'sampler') else loader


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed every step and every image by its place, and resume in the middle of an epoch.

    A checkpoint keeps the seed of the sampler, which where the config names no seed is drawn, and how many steps of the
    epoch were done. Iterable data sets have no places: they are left as they are, and do not resume exactly.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.steps_done = 0
        self.sampler_seed: int | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Of a run that is resumed, take over what the checkpoint keeps."""
        if runner._resume:
            self.steps_done = checkpoint['meta'].get('steps_done', 0)
            self.sampler_seed = checkpoint['meta'].get('sampler_seed')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add it to the checkpoint."""
        sampler_seed = getattr(_source(runner.train_dataloader).sampler, 'seed', None)
        checkpoint['meta'].update(steps_done=self.steps_done, sampler_seed=sampler_seed)

    def before_train(self, runner: Runner) -> None:
        """Let the images know their place."""
        loop, loader = runner.train_loop, runner.train_dataloader
        if isinstance(loader.dataset, (IterableDataset, PlacedDataset)):
            return
        source = _source(loader)
        sampler = source.sampler
        if self.sampler_seed is not None and hasattr(sampler, 'seed'):
            sampler.seed = self.sampler_seed
        placed = PlacedSampler(sampler, runner.seed)
        loader.__dict__['dataset'] = PlacedDataset(loader.dataset)  # torch lets nobody set it, nor its sampler
        if loader.sampler is sampler:
            loader.__dict__['sampler'] = placed
        if source is not loader:
            source.sampler = placed
        if isinstance(loop, IterBasedTrainLoop):
            # Upstream MMEngine has begun to fetch data already.
            if isinstance(sampler, InfiniteSampler):
                sampler.indices = sampler._indices_of_rank()
            loader._iterator = None
            loop.dataloader_iterator = type(loop.dataloader_iterator)(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        """Leave out what a checkpoint within an epoch has seen of it.

        Raises:
            ValueError: If that cannot be told: there is a batch sampler of a kind of its own.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop) or not self.steps_done:
            return
        loader = runner.train_dataloader
        sampler = _source(loader).sampler
        if type(loader.batch_sampler) is not BatchSampler or not isinstance(sampler, PlacedSampler):
            raise ValueError(
                f'resume: the checkpoint is from step {self.steps_done} of an epoch, and with '
                f'train_dataloader.batch_sampler={type(loader.batch_sampler).__name__} nobody can tell which images '
                'that epoch has seen. Resume from a checkpoint of the end of an epoch: '
                'default_hooks.checkpoint.by_epoch=True saves such'
            )
        sampler.start_at(self.steps_done * loader.batch_sampler.batch_size)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the step."""
        set_seed(f'step {runner.seed}/{get_dist_info()[0]}/{runner.iter}')
        torch.manual_seed(torch.initial_seed())  # of every device

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Count the step."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self.steps_done += 1

    def after_train_epoch(self, runner: Runner) -> None:
        """The next epoch starts at its beginning."""
        self.steps_done = 0
