"""A run that resumes under other circumstances: each image once an epoch, or an error that says what differs."""

from unittest.mock import Mock

import pytest
from mmengine.dataset import DefaultSampler
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from tas_mm.engine.hooks import SeedHook
from tas_mm.engine.seeding import PlacedSampler


def epoch(batch_size, images=48):
    """The state of a run at the start of an epoch."""
    data = list(range(images))
    loader = DataLoader(data, batch_size, sampler=PlacedSampler(DefaultSampler(data, shuffle=False), 0))
    return Mock(train_loop=Mock(spec=EpochBasedTrainLoop), train_dataloader=loader, _resume=True)


def saved_after(steps, batch_size, images=48):
    """The checkpoint that a run saves after some steps of an epoch."""
    hook, checkpoint = SeedHook(), dict(meta={})
    hook.steps_done = steps
    hook.before_save_checkpoint(epoch(batch_size, images), checkpoint)
    return checkpoint


def resumed(checkpoint, batch_size, images=48):
    """The images that a run sees after it is resumed from a checkpoint."""
    hook, runner = SeedHook(), epoch(batch_size, images)
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train_epoch(runner)
    return [int(index) for index in runner.train_dataloader.sampler]


def test_under_the_same_circumstances_the_next_image_comes():
    assert resumed(saved_after(2, batch_size=8), batch_size=8) == list(range(16, 48))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(batch_size=4), r'step 2 of an epoch with train_dataloader.batch_size=8, but this run has 4'),
        (dict(batch_size=8, images=40), r'with number of images=48, but this run has 40'),
    ],
)
def test_under_others_an_error_says_what_differs(options, message):
    with pytest.raises(ValueError, match=f'resume: the checkpoint is from .*{message}'):
        resumed(saved_after(2, batch_size=8), **options)


def test_at_the_end_of_an_epoch_nothing_needs_to_agree():
    assert len(resumed(saved_after(0, batch_size=8), batch_size=4)) == 48
