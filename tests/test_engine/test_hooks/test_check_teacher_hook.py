"""The teacher is measured before training, and warned of if it knows too little."""

import random
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.evaluation import Accuracy  # noqa: F401  (registers the metric)
from torch.utils.data import DataLoader

from tas_mm.engine.hooks import CheckTeacherHook
from tests import networks
from tests.networks import SIZE, samples


class Data(torch.utils.data.Dataset):
    """Forty images of one value each, which is the class times ten."""

    def __len__(self):
        return 40

    def __getitem__(self, i):
        image = torch.full((3, SIZE, SIZE), 10.0 * (i % 5))
        return dict(inputs=image, data_samples=samples([i % 5])[0])


class Asked(torch.nn.Module):
    """A teacher that knows the class, or says always the first; notes what it was asked."""

    def __init__(self, knows):
        super().__init__()
        self.knows, self.images = knows, 0

    def forward(self, inputs, mode):
        self.images += len(inputs)
        label = (inputs[:, 0, 0, 0] / 10).round().long() if self.knows else torch.zeros(len(inputs), dtype=torch.long)
        return torch.nn.functional.one_hot(label, 5).float()


class Watch(Hook):
    """Notes how many images the teacher had seen when training began."""

    priority = 'LOWEST'

    def before_train(self, runner):
        self.before_training = runner.model.teacher.network.images


@pytest.fixture
def train(tmp_path, monkeypatch, build_tas):
    """Train on nothing much; how many images the teacher saw before training and in all, and the metrics."""
    algorithm = build_tas(networks.resnet_cifar(), networks.resnet_cifar())
    monkeypatch.setattr(algorithm, 'loss', lambda inputs, data_samples: dict(loss=algorithm.student.head.fc.bias.sum()))

    def train(knows=True, val_cfg=None, epochs=1, resume=None, val_dataloader=None, **hook):
        loader = dict(dataset=Data(), batch_size=20, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
        monkeypatch.setattr(algorithm.teacher, '_hidden', (asked := Asked(knows),))
        runner = Runner(
            model=algorithm,
            work_dir=str(tmp_path),
            train_dataloader=dict(loader, dataset=torch.utils.data.Subset(Data(), [0, 1])),
            val_dataloader=val_dataloader or loader,
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            val_cfg=val_cfg or dict(type='tas_mm.TASValLoop', assistant_interval=None),
            val_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
            default_hooks=dict(check_teacher=dict(type='tas_mm.CheckTeacherHook', **hook)),
            custom_hooks=[watch := Watch()],
            load_from=resume and str(resume),
            resume=bool(resume),
            experiment_name=f'{tmp_path.name}{random.random()}',
            log_level='WARNING',
        )
        runner.train()
        metrics = {
            key: values.data[0][0] for key, values in runner.message_hub.log_scalars.items() if 'accuracy' in key
        }
        log = max(tmp_path.glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()
        return SimpleNamespace(before=watch.before_training, in_all=asked.images, metrics=metrics, log=log)

    return train


TOP1 = 'val/teacher.accuracy/top1'


def test_the_whole_set_is_looked_at_once(train):
    run = train()
    assert (run.before, run.in_all) == (40, 40)
    assert run.metrics[TOP1] == 100
    assert 'THE TEACHER' not in run.log


def test_of_a_large_set_a_part_and_then_all_in_validation(train):
    run = train(num_images=8)
    assert (run.before, run.in_all) == (8, 48)
    assert run.metrics[TOP1] == 100


def test_the_part_is_spread_over_the_set(train, monkeypatch):
    """In a set sorted by class, as folders are, the first images would be of one class."""
    numbers, item = [], Data.__getitem__
    monkeypatch.setattr(Data, '__getitem__', lambda self, i: numbers.append(int(i)) or item(self, i))
    train(num_images=8)
    assert numbers[:8] == [0, 5, 10, 15, 20, 25, 30, 35]


@pytest.mark.parametrize('val_cfg', [dict(type='tas_mm.TASValLoop', teacher_interval=None), dict(type='ValLoop')])
def test_it_needs_no_validation_of_the_teacher(train, val_cfg):
    run = train(val_cfg=val_cfg)
    assert run.before == 40
    assert TOP1 not in run.metrics


def test_it_needs_no_batch_size(train):
    batches = [list(range(i, i + 10)) for i in range(0, 40, 10)]
    run = train(val_dataloader=DataLoader(Data(), batch_sampler=batches, collate_fn=pseudo_collate))
    assert run.before == 40


def test_a_teacher_near_chance_is_warned_of(train):
    log = train(knows=False).log
    assert 'THE TEACHER IS NEAR CHANCE: accuracy/top1 is 20.00 on 40 validation images' in log
    assert 'guessing among 5 classes gives 20.00' in log


def test_a_teacher_far_below_what_the_config_states_is_warned_of(train, monkeypatch):
    assert 'THE TEACHER' not in train(expected=99.0, tolerance=0.0).log
    knows = Asked.forward

    def halved(*args, **kwargs):
        scores = knows(*args, **kwargs)
        return scores * (torch.arange(len(scores)) % 2)[:, None]

    monkeypatch.setattr(Asked, 'forward', halved)
    log = train(expected=99.0).log
    assert 'THE TEACHER IS FAR BELOW WHAT IS EXPECTED: accuracy/top1 is 60.00 on 40' in log
    assert 'default_hooks.check_teacher.expected=99.0' in log


def test_a_resumed_run_does_not_repeat_it(train, tmp_path):
    train()
    assert train(epochs=2, resume=tmp_path / 'epoch_1.pth').before == 0


def test_none_is_measured_where_none_is_wanted(train):
    assert train(num_images=0).before == 0


@pytest.mark.parametrize(('name', 'value'), [('expected', 0.8), ('num_images', -1)])
def test_options_out_of_range(name, value):
    with pytest.raises(ValueError, match=f'check_teacher.{name}={value}. Expected'):
        CheckTeacherHook(**{name: value})
