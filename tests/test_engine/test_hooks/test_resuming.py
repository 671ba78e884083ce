"""The hooks that let a run resume: seeds, checkpoints, teacher, the validation that a crash cut off."""

import errno
import os
import random
import re

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch.utils.data import BatchSampler

from tas_mm.engine.checkpoints import latest_checkpoint
from tests import networks
from tests.networks import SIZE, samples


class Data(torch.utils.data.Dataset):
    """Eight random images, each with its number in its first pixel."""

    metainfo = dict(classes=tuple('abcde'))

    def __len__(self):
        return 8

    def __getitem__(self, i):
        image = torch.randn(3, SIZE, SIZE)
        image[0, 0, 0] = i
        return dict(inputs=image, data_samples=samples([i % 5])[0])


class Tiny(BaseModel):
    """Learns one number, and has a teacher."""

    def __init__(self, teacher=0.0, allow_teacher_change=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, 5))
        self.__dict__['teacher'] = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.teacher.weight, teacher)
        self.allow_teacher_change = allow_teacher_change

    def forward(self, inputs, data_samples, mode):
        if mode == 'loss':
            return dict(loss=(self.weight - torch.rand(1)).square().sum())
        return [sample.set_pred_score(self.weight.softmax(1)[0]) for sample in data_samples]


class Watch(Hook):
    """Notes each validation and the images of each epoch, and stops the run where a test wants it."""

    def __init__(self, stop=None):
        self.stop = stop
        self.validations = []
        self.images = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.images.setdefault(runner.epoch, []).extend(data_batch['inputs'])

    def before_val(self, runner):
        self.validations.append(runner.epoch)

    def after_val_epoch(self, runner, metrics=None):
        if self.stop == 'validation':
            raise KeyboardInterrupt

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.stop == runner.iter + 1:
            raise KeyboardInterrupt


def run(work_dir, model=None, stop=None, resume=None, epochs=2, batch_sampler=None, **checkpoint) -> Watch:
    """Train, perhaps not to the end."""
    loader = dict(dataset=Data(), batch_size=4, num_workers=0)
    runner = Runner(
        model=Tiny() if model is None else model,
        work_dir=str(work_dir),
        train_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=True), batch_sampler=batch_sampler),
        val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(type='tas_mm.TASValLoop'),
        val_evaluator=dict(type='mmpretrain.Accuracy'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(
            checkpoint={'type': 'tas_mm.CheckpointHook', 'interval': 1, **checkpoint},
            **{name: dict(type=f'tas_mm.{name}Hook') for name in ('Seed', 'CatchUpValidation', 'TeacherFingerprint')},
        ),
        custom_hooks=(hooks := [Watch(stop)]),
        load_from=resume and str(resume),
        resume=bool(resume),
        experiment_name=f'{work_dir.name}{random.random()}',
        log_level='ERROR',
    )
    try:
        runner.train()
    except KeyboardInterrupt:
        assert stop
    hooks[0].runner = runner
    return hooks[0]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_validation_that_was_cut_off_comes_first(tmp_path):
    cut = run(tmp_path, stop='validation')
    assert cut.validations == [1]
    resumed = run(tmp_path, resume=tmp_path / 'epoch_1.pth')
    assert resumed.validations == [1, 2]
    best_is_saved_with_it = run(tmp_path, resume=tmp_path / 'epoch_2.pth')
    assert best_is_saved_with_it.validations == [2]


def test_a_validation_that_the_checkpoint_knows_of_is_not_repeated(tmp_path):
    run(tmp_path, epochs=1, save_best='auto')
    assert run(tmp_path, resume=tmp_path / 'epoch_1.pth').validations == [2]


def test_resuming_forgets_no_validation_and_misses_no_metric(tmp_path, build_tas, logged):
    model = build_tas(networks.resnet_cifar(), networks.vit())
    first = run(tmp_path, model, epochs=1, save_best='auto')
    assert 'teacher.accuracy/top1' in ' '.join(first.runner.message_hub.log_scalars)
    run(tmp_path, model, epochs=2, resume=tmp_path / 'epoch_1.pth', save_best='auto')
    last = run(tmp_path, model, epochs=3, resume=tmp_path / 'epoch_2.pth')
    assert 'teacher.accuracy/top1' not in ' '.join(last.runner.message_hub.log_scalars)
    assert last.runner.message_hub.get_info('validations') == 3
    assert 'is not defined in message_hub' not in logged.text


def test_another_teacher_is_refused_unless_it_is_meant(tmp_path):
    run(tmp_path, epochs=1)
    before = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['meta']['teacher']
    with pytest.raises(
        ValueError, match=rf'weights is {before}, but that of model.teacher with model.teacher_ckpt is now \w{{16}}\.'
    ):
        run(tmp_path, Tiny(1.0), resume=tmp_path / 'epoch_1.pth')
    run(tmp_path, Tiny(1.0, allow_teacher_change=True), resume=tmp_path / 'epoch_1.pth')
    assert torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['meta']['teacher'] != before


def test_a_seed_that_was_drawn_stays_the_runs(tmp_path):
    first = run(tmp_path, epochs=1).runner
    resumed = run(tmp_path, resume=tmp_path / 'epoch_1.pth').runner
    assert resumed.train_dataloader.sampler.seed == first.train_dataloader.sampler.seed
    assert resumed.seed == first.seed


def test_a_checkpoint_within_an_epoch_is_refused_where_batches_are_of_another_kind(tmp_path, monkeypatch):
    run(tmp_path, by_epoch=False, interval=1)
    assert torch.load(tmp_path / 'iter_3.pth', weights_only=False)['meta']['steps_done'] == 1
    resumed = run(tmp_path, resume=tmp_path / 'iter_3.pth', by_epoch=False)
    assert resumed.runner.iter == 4

    before_train = HOOKS.get('tas_mm.SeedHook').before_train

    def with_own_batches(self, runner):
        runner.train_dataloader.__dict__['batch_sampler'].__class__ = OwnBatches
        before_train(self, runner)

    monkeypatch.setattr(HOOKS.get('tas_mm.SeedHook'), 'before_train', with_own_batches)
    with pytest.raises(ValueError, match=r'from step 1 of an epoch.*batch_sampler=OwnBatches.*by_epoch=True'):
        run(tmp_path, resume=tmp_path / 'iter_3.pth', by_epoch=False)


class OwnBatches(BatchSampler):
    """As MMDetection's AspectRatioBatchSampler, which asks its sampler for the data set too."""

    def __iter__(self):
        assert len(self.sampler.dataset) == 8
        return super().__iter__()


@pytest.mark.parametrize('kind', [OwnBatches, BatchSampler])
def test_a_batch_sampler_of_ones_own_shuffles_anew_every_epoch_and_resumes(tmp_path, kind):
    np.random.seed(0)  # from which MMEngine draws the seeds
    batch_sampler = dict(type=kind, drop_last=False)
    first = run(tmp_path, batch_sampler=batch_sampler)
    numbers = [[int(image[0, 0, 0]) for image in first.images[epoch]] for epoch in range(2)]
    assert sorted(numbers[0]) == sorted(numbers[1]) == list(range(8))
    assert numbers[0] != numbers[1]
    resumed = run(tmp_path, resume=tmp_path / 'epoch_1.pth', batch_sampler=batch_sampler)
    assert same(resumed.images[1], first.images[1])


def test_whole_batches_of_torchs_own_kind_resume_within_an_epoch(tmp_path):
    options = dict(batch_sampler=dict(type=BatchSampler, drop_last=True), by_epoch=False, interval=1)
    first = run(tmp_path, **options)
    resumed = run(tmp_path, resume=tmp_path / 'iter_3.pth', **options)
    assert same(resumed.images[1], first.images[1][4:])


@pytest.mark.parametrize('save_best', [None, 'auto'])
def test_a_full_disk_costs_nothing_that_was_saved(tmp_path, monkeypatch, save_best):
    """With one checkpoint to keep, MMEngine would have removed it, and the best one, before it noticed."""
    run(tmp_path, epochs=1, max_keep_ckpts=1, save_best=save_best)
    before = {path.name: path.read_bytes() for path in tmp_path.glob('*.pth')}
    assert len(before) == (2 if save_best else 1)

    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left on device'):
        run(tmp_path, resume=tmp_path / 'epoch_1.pth', max_keep_ckpts=1, save_best=save_best)
    assert {path.name: path.read_bytes() for path in tmp_path.glob('*.pth*')} == before
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')


def test_a_run_that_begins_anew_costs_nothing_that_was_saved(tmp_path):
    """A new run that is killed before its first checkpoint must not resume as the earlier run."""
    run(tmp_path, epochs=1, save_best='auto')
    before = {path.name: path.read_bytes() for path in tmp_path.glob('*.pth')}
    run(tmp_path, stop=1)
    assert latest_checkpoint(tmp_path) is None
    (aside,) = tmp_path.glob('earlier_*')
    assert {path.name: path.read_bytes() for path in aside.glob('*.pth')} == before
    assert latest_checkpoint(aside) == str(aside / 'epoch_1.pth')
    run(tmp_path, resume=aside / 'epoch_1.pth')
    assert {path.name: path.read_bytes() for path in aside.glob('*.pth')} == before


def test_a_misspelt_option_of_the_checkpoint_hook_is_found_before_anything_runs():
    with pytest.raises(ValueError, match=r"default_hooks.checkpoint: unknown option 'max_keep_ckpt'. .*max_keep_ckpts"):
        HOOKS.build(dict(type='tas_mm.CheckpointHook', interval=1, max_keep_ckpt=8))


def test_outdated_checkpoints_go_once_the_next_is_there(tmp_path):
    run(tmp_path, epochs=3, max_keep_ckpts=1, save_best='auto')
    names = sorted(path.name for path in tmp_path.glob('*.pth*'))
    assert len(names) == 2
    assert re.fullmatch(r'best_accuracy_top1_epoch_\d.pth', names[0])
    assert names[1] == 'epoch_3.pth'
    assert CheckpointLoader.load_checkpoint((tmp_path / 'last_checkpoint').read_text())['meta']['epoch'] == 3


def test_a_checkpoint_whose_name_stays_the_same_is_kept(tmp_path):
    run(tmp_path, epochs=2, max_keep_ckpts=1, filename_tmpl='latest.pth')
    assert CheckpointLoader.load_checkpoint((tmp_path / 'last_checkpoint').read_text())['meta']['epoch'] == 2


def test_the_best_of_another_folder_stays(tmp_path):
    old, new = tmp_path / 'old', tmp_path / 'new'
    run(old, epochs=1, save_best='auto')
    kept = sorted(old.glob('*.pth'))
    best = torch.load(old / 'epoch_1.pth', weights_only=False)
    best['message_hub']['runtime_info']['best_score'] = -1.0  # whatever comes is better
    torch.save(best, old / 'epoch_1.pth')
    run(new, resume=old / 'epoch_1.pth', save_best='auto')
    assert list(new.glob('best*'))
    assert sorted(old.glob('*.pth')) == kept
