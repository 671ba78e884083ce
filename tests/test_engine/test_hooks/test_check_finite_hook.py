"""Losses, gradients and weights that are not finite: what stops, what is skipped, what is never saved."""

import functools

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner
from torch import nn

NAN = float('nan')


class Model(BaseModel):
    """Batch norm and a linear layer. An image of NaN makes ``loss_b`` NaN, and one of 99 the gradient alone."""

    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.BatchNorm1d(4), nn.Linear(4, 1)
        self.register_buffer('mask', torch.tensor([0.0, -torch.inf]))

    def forward(self, inputs, mode):
        x = self.norm(inputs.clamp(max=9))
        loss_b = self.fc(x).square().mean()
        if (inputs == 99).any():
            loss_b = loss_b + (0 * self.fc.weight).sum().sqrt()  # 0, of infinite slope
        return dict(loss_a=self.fc.weight.square().mean(), loss_b=loss_b)


class Spy(Hook):
    """Return the state after each iteration: weights, statistics and momentum."""

    priority = 'VERY_LOW'

    def __init__(self, spoil=None):
        self.states, self.spoil = [], spoil

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        state = [*runner.model.state_dict().values()]
        state += [x for s in runner.optim_wrapper.optimizer.state.values() for x in s.values() if x is not None]
        self.states.append([x.clone() for x in state])

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.spoil:
            runner.model.fc.bias.data.fill_(NAN)
            runner.model.fc.bias.requires_grad_(False)  # so that only the weights tell


def run(tmp_path, bad=(), value=NAN, checkpoint=None, spy=None, optim=None, load_from=None, **hook):
    """Ten iterations in two epochs, those of ``bad`` with bad images."""
    data = [dict(inputs=torch.full((4,), value) if i // 2 + 1 in bad else torch.randn(4)) for i in range(10)]
    spy = spy or Spy()
    runner = Runner(
        model=Model(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=data,
            batch_size=2,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper={'optimizer': dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1), **(optim or {})},
        default_hooks=dict(
            checkpoint={'type': 'CheckpointHook', 'interval': 1, **(checkpoint or {})},
            check_finite=dict(type='tas_mm.CheckFiniteHook', **hook),
        ),
        custom_hooks=[spy],
        load_from=load_from,
        experiment_name=f'finite{abs(hash(str(tmp_path)))}',
        log_level='ERROR',
    )
    return runner, spy


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b))


@pytest.mark.parametrize(('value', 'what'), [(NAN, 'loss=nan, loss_b=nan, gradient=nan'), (99.0, 'gradient=nan')])
def test_the_run_stops_with_names_iteration_and_the_last_good_checkpoint(tmp_path, value, what):
    runner, _ = run(tmp_path, bad=[3], value=value)  # so the third and, in the second epoch, the eighth
    runner.train_loop.dataloader.dataset[4:6] = [dict(inputs=torch.randn(4))] * 2
    images = runner.train_loop.dataloader.dataset

    class SpoilSecondEpoch(Hook):
        def after_train_epoch(self, runner):
            images[4] = dict(inputs=torch.full((4,), value))

    runner.register_hook(SpoilSecondEpoch())
    with pytest.raises(FloatingPointError, match=rf'iteration 8 was not finite: {what}\. .* good: .*epoch_1\.pth'):
        runner.train()
    assert not (tmp_path / 'epoch_2.pth').exists()
    state = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    assert all(x.isfinite().all() for name, x in state.items() if name != 'mask')


def test_a_damaged_checkpoint_does_not_hide_what_was_not_finite(tmp_path):
    runner, _ = run(tmp_path, bad=[3])
    (tmp_path / 'epoch_1.pth').write_bytes(b'PK, and no more')
    with pytest.raises(FloatingPointError, match=r'iteration 3 .* None of the checkpoints in .* is complete\. Try'):
        runner.train()


def test_without_failures_the_hook_changes_nothing(tmp_path):
    spies = []
    for name, options in (('with', dict(max_skips=1)), ('without', dict(interval=10**6))):
        torch.manual_seed(0)
        runner, spy = run(tmp_path / name, **options)
        runner.train()
        spies.append(spy)
    assert all(same(a, b) for a, b in zip(spies[0].states, spies[1].states))
    assert not same(spies[0].states[0], spies[0].states[-1])


@pytest.mark.parametrize('optim', [{}, dict(clip_grad=dict(max_norm=1.0))])
def test_skipped_iterations_leave_weights_optimizer_and_statistics_alone(tmp_path, optim, logged):
    runner, spy = run(tmp_path, bad=[3, 4], max_skips=2, optim=optim)
    runner.train()
    assert same(spy.states[1], spy.states[2])
    assert same(spy.states[1], spy.states[3])
    assert not same(spy.states[3], spy.states[4])
    assert (tmp_path / 'epoch_2.pth').exists()


def test_one_more_in_a_row_than_may_be_skipped_stops_the_run(tmp_path):
    runner, _ = run(tmp_path, bad=[2, 3, 4], max_skips=2)
    with pytest.raises(FloatingPointError, match=r'iteration 2 was not finite \(nor were the next 2\): loss=nan'):
        runner.train()


def test_an_accumulated_step_is_skipped_as_a_whole(tmp_path):
    runner, spy = run(tmp_path, bad=[1], max_skips=2, optim=dict(accumulative_counts=5))
    before = [x.clone() for x in runner.model.parameters()]
    runner.train()
    assert same(before, runner.model.parameters())


@pytest.mark.parametrize('by_epoch', [True, False])
def test_weights_that_are_not_finite_are_not_saved_and_push_no_checkpoint_out(tmp_path, by_epoch):
    interval = 1 if by_epoch else 5
    runner, _ = run(
        tmp_path,
        checkpoint=dict(interval=interval, by_epoch=by_epoch, max_keep_ckpts=1),
        spy=Spy(spoil=10),
        interval=10**6,
    )
    first = tmp_path / ('epoch_1.pth' if by_epoch else 'iter_5.pth')
    runner.model.forward = lambda inputs, mode: dict(loss=runner.model.norm(inputs).square().mean())
    with pytest.raises(FloatingPointError, match=rf'weights are no longer finite: fc.bias\. .* good: .*{first.name}'):
        runner.train()
    assert [path.name for path in tmp_path.glob('*.pth')] == [first.name]


def test_whoever_saves_is_refused(tmp_path):
    runner, _ = run(tmp_path)
    runner.train()
    runner.model.fc.weight.data.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match='weights are no longer finite: fc.weight'):
        runner.save_checkpoint(str(tmp_path), 'mine.pth')
    assert not (tmp_path / 'mine.pth').exists()


def test_loaded_weights_that_are_not_finite_are_refused_before_training(tmp_path):
    state = Model().state_dict()
    state['fc.bias'].fill_(NAN)
    torch.save(dict(state_dict=state), tmp_path / 'bad.pth')
    runner, spy = run(tmp_path, load_from=str(tmp_path / 'bad.pth'))
    with pytest.raises(FloatingPointError, match='not finite before training: fc.bias. Check load_from'):
        runner.train()
    assert not spy.states


@pytest.fixture
def mixed_precision(monkeypatch):
    """MMEngine's AmpOptimWrapper with torch's own GradScaler, on the CPU."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', functools.partial(torch.amp.GradScaler, 'cpu'))
    return lambda scale: dict(type='AmpOptimWrapper', loss_scale=dict(init_scale=scale))


def test_gradients_that_overflow_in_mixed_precision_are_no_failure(tmp_path, mixed_precision):
    runner, spy = run(tmp_path, optim=mixed_precision(2.0**127))
    runner.model.fc.weight.data.fill_(100.0)  # so that gradients are too large for float32 at that scale
    runner.train()
    assert not same(spy.states[0], [*runner.model.state_dict().values()])
    assert 2.0**100 < runner.optim_wrapper.loss_scaler.get_scale() < 2.0**127


def test_gradients_that_overflow_at_any_scale_are_one(tmp_path, mixed_precision):
    runner, _ = run(tmp_path, optim=mixed_precision(2.0**-20), bad=[1, 2, 3, 4, 5], value=99.0)
    with pytest.raises(FloatingPointError, match='gradients are not finite at any loss scale, down to'):
        runner.train()


def test_losses_are_looked_at_in_mixed_precision_too(tmp_path, mixed_precision):
    runner, _ = run(tmp_path, optim=mixed_precision(2.0**4), bad=[2])
    with pytest.raises(FloatingPointError, match='iteration 2 was not finite: loss=nan, loss_b=nan'):
        runner.train()


@pytest.mark.parametrize('fused', [False, True])
def test_a_step_that_a_fixed_loss_scale_drops_has_failed(tmp_path, mixed_precision, fused):
    optim = dict(type='AmpOptimWrapper', loss_scale=1.0, optimizer=dict(type='SGD', lr=0.1, momentum=0.9, fused=fused))
    said = 'gradient=nan' if fused else r'gradient at the fixed optim_wrapper\.loss_scale=1\.0'
    runner, _ = run(tmp_path / 'stopped', optim=optim, bad=[3], value=99.0)
    with pytest.raises(FloatingPointError, match=rf'iteration 3 was not finite: {said}\. '):
        runner.train()
    runner, spy = run(tmp_path / 'skipped', optim=optim, bad=[3], value=99.0, max_skips=1)
    runner.train()
    assert same(spy.states[1], spy.states[2])
    assert not same(spy.states[2], spy.states[3])


def test_a_step_that_was_not_due_was_not_dropped(tmp_path, mixed_precision):
    runner, _ = run(tmp_path, optim=dict(type='AmpOptimWrapper', loss_scale=1.0, accumulative_counts=2))
    runner.train()
    assert runner.iter == 10


@pytest.mark.parametrize('options', [dict(interval=0), dict(max_skips=-1)])
def test_options_out_of_range(tmp_path, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf'check_finite.{name}={value}. Expected at least'):
        run(tmp_path, **options)
