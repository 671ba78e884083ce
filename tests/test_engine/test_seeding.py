"""Images draw their random numbers by their place in the run."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader

from tas_mm.engine.hooks import SeedHook
from tas_mm.engine.seeding import PlacedDataset, PlacedSampler


class Noise(torch.utils.data.Dataset):
    """Twelve items, each drawn anew from all the generators."""

    metainfo = dict(classes=tuple('abcde'))

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)

    def __getitems__(self, indices):
        raise AssertionError('fetched past the seeds')


def epochs(sampler, workers=0, first=0, number=2, persistent=False):
    """Return what a loader gives in some epochs, by the steps of SeedHook."""
    sampler = PlacedSampler(sampler, seed=3)
    loader = DataLoader(PlacedDataset(Noise()), 4, sampler=sampler, num_workers=workers, persistent_workers=persistent)
    values = []
    for epoch in range(first, first + number):
        sampler.set_epoch(epoch)
        values.append(torch.cat(list(loader)))
    return torch.stack(values)


def test_images_are_drawn_by_their_place_whatever_ran_before():
    whole = epochs(DefaultSampler(Noise(), seed=0))
    assert torch.equal(epochs(DefaultSampler(Noise(), seed=0), first=1, number=1)[0], whole[1])
    assert len(whole[..., 1:].unique()) == whole[..., 1:].numel()  # no two alike


@pytest.mark.parametrize('persistent', [False, True])
def test_any_number_of_data_workers_draws_the_same(persistent):
    whole = epochs(DefaultSampler(Noise(), seed=0))
    assert torch.equal(epochs(DefaultSampler(Noise(), seed=0), workers=2, persistent=persistent), whole)


def test_any_number_of_processes_draws_the_same(monkeypatch):
    whole = {int(value[0]): value for value in epochs(DefaultSampler(Noise(), seed=0), number=1)[0]}
    for rank in range(2):
        for module in ('mmengine.dataset.sampler', 'tas_mm.engine.seeding'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda rank=rank: (rank, 2))
        part = epochs(DefaultSampler(Noise(), seed=0), number=1)[0]
        assert len(part) == 6
        assert all(torch.equal(value, whole[int(value[0])]) for value in part)


def test_a_step_is_drawn_by_its_number_in_the_run_and_by_the_process(monkeypatch):
    """Not by its number in the epoch, after which every epoch would draw the same."""

    def drawn(step, rank=0, seed=3, number_in_epoch=0):
        monkeypatch.setattr('tas_mm.engine.hooks.runtime.seed_hook.get_dist_info', lambda: (rank, 2))
        SeedHook().before_train_iter(SimpleNamespace(seed=seed, iter=step), number_in_epoch)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert drawn(7) == drawn(7, number_in_epoch=1)
    others = [drawn(8), drawn(7, rank=1), drawn(7, seed=4)]
    for i in range(3):  # each of the generators
        assert len({draw[i] for draw in (drawn(7), *others)}) == 4


def test_a_sampler_skips_as_if_it_had_gone_there():
    def stream(skip: int):
        sampler = PlacedSampler(InfiniteSampler(Noise(), seed=0), seed=3)
        if hasattr(sampler, 'skip'):  # which the maintained fork asks for
            sampler.skip(skip)
        else:
            sampler.start_at(skip)
        indices = BatchSampler(sampler, 4, drop_last=False)
        return [[(int(index), index.place) for index in batch] for batch, _ in zip(indices, range(8))]

    assert stream(20)[:3] == stream(0)[5:]


def test_indices_that_are_no_numbers_reach_the_data_set():
    frames = {('video', 1): 10, ('video', 2): 20}  # as MMDetection's samplers of videos name their frames
    loader = DataLoader(PlacedDataset(frames), 2, sampler=PlacedSampler(list(frames), seed=3))
    assert torch.cat(list(loader)).tolist() == [10, 20]


def test_a_pipeline_that_a_hook_exchanges_reaches_the_data_set():
    dataset = Noise()
    PlacedDataset(dataset).pipeline = 'new'
    assert dataset.pipeline == 'new'
