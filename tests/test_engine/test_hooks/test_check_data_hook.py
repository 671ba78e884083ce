"""Images, labels and loaders are looked at before they reach a network."""

import itertools
import multiprocessing
import os
import re
import signal

import numpy as np
import pytest
import torch
from mmcv import imwrite
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from tas_mm.engine.hooks.runtime.check_data_hook import CheckedPipeline
from tas_mm.engine.launch import train
from tas_mm.engine.loader_checks import check_loader, check_smallest_batch
from tests import networks
from tests.integration.runs import PROCESSES


class Model(BaseModel):
    """Looks at nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.head = nn.Module()
        self.head.num_classes = 5

    def forward(self, inputs, data_samples, mode):
        return dict(loss=self.weight.square().sum())


def write(folder, *images):
    """Write gray images as files, and the list of their classes."""
    for i, image in enumerate(images):
        imwrite(np.full((8, 8, 3), image, np.uint8), str(folder / f'{i}.png'))
    (folder / 'list.txt').write_text(''.join(f'{i}.png {i % 5}\n' for i in range(len(images))))


def runner_of(folder, hook=True, workers=0, epochs=2, train_cfg=None, skip_unreadable=False, **loader):
    dataset = dict(
        type='mmpretrain.CustomDataset',
        data_root=str(folder),
        ann_file='list.txt',
        pipeline=[dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')],
    )
    train = dict(dataset=dataset, batch_size=2, num_workers=workers, sampler=dict(type='DefaultSampler', shuffle=False))
    return Runner(
        model=Model(),
        work_dir=str(folder / 'run'),
        train_dataloader={**train, **loader},
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        randomness=dict(seed=0),
        default_hooks=dict(
            **(dict(check_data=dict(type='tas_mm.CheckDataHook', skip_unreadable=skip_unreadable)) if hook else {}),
            seed=dict(type='tas_mm.SeedHook'),
            checkpoint=dict(type='tas_mm.CheckpointHook', interval=1),
        ),
        experiment_name=f'data{abs(hash(str(folder)))}',
        log_level='ERROR',
    )


@pytest.mark.parametrize('workers', [0, 1])
def test_an_unreadable_image_is_named_and_what_was_saved_stays(tmp_path, workers):
    write(tmp_path, 10, 20, 30, 40)
    runner_of(tmp_path, epochs=1).train()
    before = (tmp_path / 'run' / 'epoch_1.pth').read_bytes()
    (tmp_path / '2.png').write_bytes(b'no image')
    runner = runner_of(tmp_path, workers=workers)
    with pytest.raises(ValueError, match=r'train_dataloader.dataset: image .*2\.png cannot be read or transformed: '):
        runner.train()
    (saved,) = (tmp_path / 'run').rglob('epoch_1.pth')  # moved aside, since the second run began anew
    assert saved.read_bytes() == before


def unlabeled(folder, number, unreadable):
    """A nested folder of images without a list, one of which is not an image."""
    for i in range(number):
        imwrite(np.full((8, 8, 3), i, np.uint8), str(folder / f'part{i % 3}' / 'of' / f'{i}.png'))
    (bad,) = folder.rglob(f'{unreadable}.png')
    bad.write_bytes(b'no image')


@pytest.mark.parametrize('workers', [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_file_among_many_is_skipped_with_a_warning_where_that_is_allowed(tmp_path, monkeypatch, workers):
    """Another image takes its place, the same in every run, and no label is missed."""
    unlabeled(tmp_path / 'pool', 40, unreadable=17)
    dataset = dict(
        type='mmpretrain.CustomDataset',
        data_root=str(tmp_path / 'pool'),
        with_label=False,
        pipeline=[dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')],
    )
    runner = runner_of(tmp_path, dataset=dataset, workers=workers)
    with pytest.raises(ValueError, match=r'17\.png cannot be read .*set default_hooks.check_data.skip_unreadable=True'):
        runner.train()
    runs, said = [], []
    monkeypatch.setattr(f'{CheckedPipeline.__module__}.print_log', lambda text, **_: said.append(text))
    for _ in range(2):
        runner = runner_of(tmp_path, dataset=dataset, workers=workers, skip_unreadable=True)
        runs.append(torch.cat(images_of(runner))[:, 0, 0, 0].tolist())
    assert len(runs[0]) == 80
    assert 17 not in runs[0]
    assert runs[0] == runs[1]
    if not workers:  # who say it by themselves
        assert [
            re.search(r'17\.png cannot be read.* Another image replaces it', text) is not None for text in said
        ] == [True] * 2


def test_only_what_cannot_be_read_is_skipped(tmp_path):
    write(tmp_path, 10, 20)
    runner = runner_of(tmp_path, skip_unreadable=True)
    dataset = runner.train_loop.dataloader.dataset
    dataset.pipeline.transforms.insert(1, lambda data: data['nothing'])
    with pytest.raises(ValueError, match=r"0\.png cannot be read or transformed: KeyError: 'nothing'. Repair") as error:
        runner.train()
    assert 'skip_unreadable' not in str(error.value)


def images_of(runner):
    """The images that a run trains on."""
    seen, loss = [], runner.model.forward
    runner.model.forward = lambda inputs, **kwargs: seen.append(torch.stack(inputs)) or loss(inputs, **kwargs)
    runner.train()
    return seen


@pytest.mark.parametrize('kind', ['DefaultSampler', 'InfiniteSampler'])
def test_good_data_passes_unchanged(tmp_path, kind):
    write(tmp_path, 10, 20, 30, 40, 50, 60)
    cfg = dict(by_epoch=False, max_iters=6) if kind == 'InfiniteSampler' else dict(by_epoch=True, max_epochs=2)
    runs = [
        images_of(runner_of(tmp_path, hook, sampler=dict(type=kind, shuffle=True, seed=1), train_cfg=cfg))
        for hook in (True, False)
    ]
    assert len(runs[0]) == 6
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def loader_of(number, batch_size=4, sampler=None, **options):
    data = torch.utils.data.TensorDataset(torch.zeros(number))
    sampler = sampler(data) if sampler else None
    return torch.utils.data.DataLoader(data, batch_size, sampler=sampler, **options)


@pytest.mark.parametrize(
    ('number', 'options', 'refused'),
    [
        (8, {}, False),
        (9, {}, True),
        (9, dict(drop_last=True), False),
        (9, dict(sampler=InfiniteSampler), False),
        (8, dict(batch_size=1), True),
        (8, dict(batch_size=1, sampler=InfiniteSampler), True),
    ],
)
def test_a_batch_of_one_is_refused_where_images_are_compared(number, options, refused):
    loader = loader_of(number, **options)
    check_smallest_batch(loader, nn.Linear(1, 1))
    if not refused:
        check_smallest_batch(loader, nn.BatchNorm1d(1))
        return
    with pytest.raises(ValueError, match=r'gives a batch of 1 image \(batch_size=.*too few for BatchNorm1d. Set drop'):
        check_smallest_batch(loader, nn.BatchNorm1d(1))


class OwnBatches(torch.utils.data.BatchSampler):
    """As MMDetection's AspectRatioBatchSampler."""


def loader_of_batches(batches):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(9)), batch_sampler=batches)


@pytest.mark.parametrize('kind', [OwnBatches, torch.utils.data.BatchSampler])
def test_a_batch_sampler_of_ones_own_says_itself_what_it_drops(kind):
    check_smallest_batch(loader_of_batches(kind(range(9), 4, drop_last=True)), nn.BatchNorm1d(1))
    with pytest.raises(ValueError, match=r'\(batch_size=4 of 9 images, drop_last=False\)'):
        check_smallest_batch(loader_of_batches(kind(range(9), 4, drop_last=False)), nn.BatchNorm1d(1))
    uneven = DefaultSampler(range(9), round_up=False)
    check_loader(loader_of_batches(kind(uneven, 4, drop_last=True)), 'train_dataloader', processes=2)
    with pytest.raises(ValueError, match='round_up=False shares 9 images unevenly among 2 processes'):
        check_loader(loader_of_batches(kind(uneven, 4, drop_last=False)), 'train_dataloader', processes=2)


class NoEnd(torch.utils.data.Sampler):
    """Goes round and round, and so has no length."""

    def __iter__(self):
        return itertools.cycle(range(9))


def test_what_a_sampler_does_not_tell_is_no_error():
    own = [[0, 1, 2], [3, 4, 5, 6, 7, 8]]
    for loader in (loader_of_batches(own), loader_of(9, sampler=lambda data: NoEnd()), loader_of(9, None)):
        check_loader(loader, 'train_dataloader', processes=2)
        check_smallest_batch(loader, nn.BatchNorm1d(1))
    with pytest.raises(ValueError, match='train_dataloader gives no batch: its data set has 9 images'):
        check_loader(loader_of_batches([]), 'train_dataloader')


def test_norms_that_stay_in_eval_mode_compare_no_images(build):
    loader = loader_of(8, batch_size=1)
    check_smallest_batch(loader, build(networks.resnet(norm_eval=True)))
    with pytest.raises(ValueError, match='too few for BatchNorm2d'):
        check_smallest_batch(loader, build(networks.resnet(frozen_stages=1)).eval())  # until the loop trains it


def test_processes_get_as_many_batches_each():
    loader = loader_of(9, sampler=lambda data: DefaultSampler(data, round_up=False))
    check_loader(loader, 'train_dataloader')
    check_loader(loader, 'val_dataloader', processes=2)
    with pytest.raises(ValueError, match='round_up=False shares 9 images unevenly among 2 processes'):
        check_loader(loader, 'train_dataloader', processes=2)
    whole = loader_of(9, batch_size=5, drop_last=True, sampler=lambda data: DefaultSampler(data, round_up=False))
    with pytest.raises(ValueError, match='round_up=False shares 9 .* Set round_up=True$'):  # one batch, and none
        check_loader(whole, 'train_dataloader', processes=2)


class Killer(BaseModel):
    """Kills its data workers in the second epoch."""

    def __init__(self, folder):
        super().__init__()
        self.weight, self.folder = nn.Parameter(torch.zeros(1)), folder

    def forward(self, inputs, data_samples, mode):
        if (self.folder / 'run' / 'epoch_1.pth').exists():
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)
        return dict(loss=self.weight.square().sum())


def train_with_killer(folder):
    runner = runner_of(folder, workers=1, epochs=3)
    runner.model = Killer(folder)
    try:
        train(runner)
    except RuntimeError as error:
        (folder / 'said').write_text(str(error))


def test_a_killed_data_worker_is_said_and_costs_no_checkpoint(tmp_path):
    write(tmp_path, *range(40))
    process = PROCESSES.Process(target=train_with_killer, args=(tmp_path,))  # whose signals are not the tests'
    process.start()
    process.join()
    said = (tmp_path / 'said').read_text()
    assert re.search(r'(?s)process that loads images was killed \(.*num_workers or batch_size.*--resume', said)
    assert torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=False)['meta']['epoch'] == 1


@pytest.mark.parametrize('error', [RuntimeError('shapes differ'), ConnectionResetError('by peer'), EOFError()])
def test_other_errors_stay_what_they_are(error):
    class Fails:
        model = None

        def train(self):
            raise error

    with pytest.raises(type(error)) as raised:
        train(Fails())
    assert raised.value is error
