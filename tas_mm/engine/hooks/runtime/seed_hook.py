"""Random numbers that depend only on the seed and the position in the run, not on what ran before.

Before every training step, Python's, numpy's and torch's generators are set from the seed, the process and the number
of the step (dropout, DropPath, mixup). Before every image they are set from the image's position (augmentation; see
``tas_mm.engine.seeding``). So it saves no state: a resumed run draws the same numbers as an
uninterrupted one, at any step and in every process.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from tas_mm.registry import HOOKS

from ...seeding import PlacedDataset, PlacedSampler, set_seed


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed every step and every image by its position, and resume in the middle of an epoch.

    A checkpoint stores the sampler's seed, which is random if the config sets none, and the number of finished steps of
    the epoch. Iterable data sets do not have positions. They are not seeded, and do not resume exactly.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.steps_done = 0
        self.sampler_seed: int | None = None
        self.circumstances: dict[str, int] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restore the stored values if the run is resumed."""
        if runner._resume:
            self.steps_done = checkpoint['meta'].get('steps_done', 0)
            self.sampler_seed = checkpoint['meta'].get('sampler_seed')
            self.circumstances = checkpoint['meta'].get('circumstances', {})

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the number of steps and the seed to the checkpoint."""
        sampler_seed = getattr(_source(runner.train_dataloader).sampler, 'seed', None)
        circumstances = _circumstances(runner.train_dataloader)
        checkpoint['meta'].update(steps_done=self.steps_done, sampler_seed=sampler_seed, circumstances=circumstances)

    def before_train(self, runner: Runner) -> None:
        """Wrap data set and sampler, so that images know their position."""
        loop, loader = runner.train_loop, runner.train_dataloader
        if isinstance(loader.dataset, (IterableDataset, PlacedDataset)):
            return
        source = _source(loader)
        sampler = source.sampler
        if self.sampler_seed is not None and hasattr(sampler, 'seed'):
            sampler.seed = self.sampler_seed
        placed = PlacedSampler(sampler, runner.seed)
        loader.__dict__['dataset'] = PlacedDataset(loader.dataset)  # torch does not allow to set it, nor its sampler
        if loader.sampler is sampler:
            loader.__dict__['sampler'] = placed
        if source is not loader:
            source.sampler = placed
        if isinstance(loop, IterBasedTrainLoop):
            # Upstream MMEngine already fetches data here.
            if isinstance(sampler, InfiniteSampler):
                sampler.indices = sampler._indices_of_rank()
            loader._iterator = None
            loop.dataloader_iterator = type(loop.dataloader_iterator)(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        """Skip the images that the epoch had seen when the checkpoint was saved.

        Raises:
            ValueError: If these images are not known, because the batch sampler is a custom one, or because the run
                that saved the checkpoint had another batch size, number of processes or number of images.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop) or not self.steps_done:
            return
        loader = runner.train_dataloader
        sampler = _source(loader).sampler
        if type(loader.batch_sampler) is not BatchSampler or not isinstance(sampler, PlacedSampler):
            raise ValueError(
                f'resume: the checkpoint is from step {self.steps_done} of an epoch. With '
                f'train_dataloader.batch_sampler={type(loader.batch_sampler).__name__} the images that the epoch has '
                'seen are not known. Resume from a checkpoint saved at the end of an epoch, as '
                'default_hooks.checkpoint.by_epoch=True saves them'
            )
        for name, now in _circumstances(loader).items():
            before = self.circumstances.get(name, now)
            if before != now:
                raise ValueError(
                    f'resume: the checkpoint is from step {self.steps_done} of an epoch with {name}={before}, but '
                    f'this run has {now}, so some images would be seen twice and others never. Resume with {before}, '
                    'or from a checkpoint saved at the end of an epoch'
                )
        sampler.start_at(self.steps_done * loader.batch_sampler.batch_size)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the step."""
        set_seed(f'step {runner.seed}/{get_dist_info()[0]}/{runner.iter}')
        torch.manual_seed(torch.initial_seed())  # seeds every device

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Count the step."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self.steps_done += 1

    def after_train_epoch(self, runner: Runner) -> None:
        """Start the next epoch at its first step."""
        self.steps_done = 0


def _circumstances(loader: DataLoader) -> dict[str, int]:
    """Return what determines the images of an epoch's steps, by the names that error messages use."""
    found = {'train_dataloader.batch_size': getattr(loader.batch_sampler, 'batch_size', None)}
    found['number of processes'] = get_dist_info()[1]
    if not isinstance(loader.dataset, IterableDataset):
        found['number of images'] = len(loader.dataset)
    return found


def _source(loader: DataLoader) -> DataLoader | BatchSampler:
    """Return the object that has the sampler of the images.

    With a batch sampler in the config, ``loader.sampler`` is an unused ``SequentialSampler`` of torch.
    """
    return loader.batch_sampler if hasattr(loader.batch_sampler, 'sampler') else loader
