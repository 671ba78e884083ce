"""Stop and name the value when a loss, a gradient or a weight is not finite, and never save such weights.

A loss that is not finite makes every weight NaN at the next optimizer step. MMEngine continues, and its next
checkpoints replace the good ones. The check costs little: MMEngine reads every loss after every iteration anyway
(RuntimeInfoHook), and finding the largest gradient is one pass over the gradients.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from tas_mm.models.utils import unwrap
from tas_mm.registry import HOOKS

from ...checkpoints import latest_checkpoint

SMALLEST_SCALE = 2.0**-24
"""A GradScaler starts at 2 ** 16 and halves its scale whenever a gradient is infinite."""


@HOOKS.register_module()
class CheckFiniteHook(Hook):
    """Check losses and gradients in every iteration, and the weights before they are validated or saved.

    All processes decide together. They exchange their findings every ``interval`` iterations, and before weights are
    used. Under mixed precision with a dynamic loss scale infinite gradients are normal: torch's GradScaler skips such a
    step and lowers the scale, and the hook only sees gradients that reach the optimizer. A fixed scale, such as
    bfloat16's of 1, is not lowered, so a skipped step counts as failed.

    Args:
        interval (int): Number of iterations between two decisions. Defaults to 10.
        max_skips (int): Number of consecutive iterations that may fail. Their steps are skipped: weights, optimizer
            state and running statistics stay as they were. If positive, every step waits for its gradients. Defaults to
            0.

    Raises:
        ValueError: If ``interval`` is below 1 or ``max_skips`` below 0.
        FloatingPointError: From the hook's methods, if the run must stop.
    """

    priority = 'LOW'  # after EMAHook, whose weights are checked too, and before CheckpointHook

    def __init__(self, interval: int = 10, max_skips: int = 0) -> None:
        if interval < 1:
            raise ValueError(f'default_hooks.check_finite.interval={interval}. Expected at least 1')
        if max_skips < 0:
            raise ValueError(f'default_hooks.check_finite.max_skips={max_skips}. Expected at least 0')
        self.interval = interval
        self.max_skips = max_skips
        self.failed: dict[int, str] = {}  # number of an iteration -> what was not finite in it
        self.gradient: Tensor | None = None  # the largest of this iteration
        self.fixed_scale: float | None = None  # loss scale under mixed precision, if it is fixed
        self.buffers: list[tuple[Tensor, Tensor]] = []  # each with a copy from after the last good iteration
        self.never_finite: set[str] | None = None  # buffers such as masks; None outside of training

    # ---- every iteration -------------------------------------------------------------------------------------------

    def before_train(self, runner: Runner) -> None:
        """Raise if parameters are not finite at the start, and hook the optimizer's steps."""
        model = unwrap(runner.model)
        bad = set(_not_finite(model.state_dict()))
        if spoilt := [name for name, _ in model.named_parameters() if name in bad]:
            raise FloatingPointError(
                f'weights are not finite before training: {_some(spoilt)}. Check load_from, --resume and init_cfg'
            )
        self.never_finite = bad
        self.failed = {}
        self.fixed_scale = getattr(runner.optim_wrapper, '_scale_update_param', None)
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._before_step)
        if self.max_skips:
            self.buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def _before_step(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        """Measure the gradients of the optimizer's step, and drop them if skipping is allowed."""
        if getattr(optimizer, 'found_inf', None) is not None and self.fixed_scale is None:
            return  # a fused optimizer under mixed precision skips steps with infinite gradients itself
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        self.gradient = nn.utils.get_total_norm([p.grad for p in parameters], norm_type=math.inf)
        if self.max_skips and not self.gradient.isfinite():
            for parameter in parameters:
                parameter.grad = None  # optimizers skip parameters without a gradient

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """Record what was not finite in this iteration, and decide every ``interval`` iterations."""
        values = {name: float(value.detach()) for name, value in (outputs or {}).items()}
        dropped = self.fixed_scale is not None and self.gradient is None and runner.optim_wrapper.should_update()
        if self.gradient is not None:
            values['gradient'] = float(self.gradient)
            self.gradient = None
        bad = [f'{name}={value}' for name, value in values.items() if not math.isfinite(value)]
        if dropped:
            bad.append(f'gradient at the fixed optim_wrapper.loss_scale={self.fixed_scale}')
        if bad:
            self.failed[runner.iter + 1] = ', '.join(bad)
        for buffer, good in self.buffers:
            buffer.copy_(good) if bad else good.copy_(buffer)
        if self._saves_now(runner):
            self._check(runner)
        elif self.every_n_train_iters(runner, self.interval):
            self._decide(runner)

    def _saves_now(self, runner: Runner) -> bool:
        """Return True if the main process will save a checkpoint in this iteration, so that all must stop before."""
        return any(
            isinstance(hook, CheckpointHook)
            and not hook.by_epoch
            and (self.every_n_train_iters(runner, hook.interval, hook.save_begin) or self.is_last_train_iter(runner))
            for hook in runner.hooks
        )

    # ---- before weights are used -----------------------------------------------------------------------------------

    def after_train_epoch(self, runner: Runner) -> None:
        """Raise instead of saving non-finite weights at the end of an epoch."""
        self._check(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Check the weights before validation, with EMA the averaged ones."""
        if self.never_finite is not None:
            self._check(runner)

    def after_train(self, runner: Runner) -> None:
        """Stop checking: later validations are not part of training."""
        self.never_finite = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Raise instead of saving non-finite weights, whichever hook is saving. Called in the main process only."""
        self._raise(runner, _not_finite(checkpoint['state_dict']))

    # ---- decisions -------------------------------------------------------------------------------------------------

    def _check(self, runner: Runner) -> None:
        """Stop all processes if this iteration, or a weight in any of them, is not finite."""
        self._decide(runner)
        bad = _not_finite(unwrap(runner.model).state_dict())
        self._raise(runner, [name for names in dist.all_gather_object(bad) for name in names])

    def _decide(self, runner: Runner) -> None:
        """Stop all processes if too many consecutive iterations failed in any of them."""
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is not None and scaler.get_scale() < SMALLEST_SCALE:
            raise FloatingPointError(
                f'gradients are not finite at any loss scale, down to {scaler.get_scale():.0e}. {_last_good(runner)}'
            )
        for failed in dist.all_gather_object(self.failed):
            self.failed = failed | self.failed
        for first in sorted(self.failed):
            if all(first + i in self.failed for i in range(self.max_skips + 1)):
                more = f' (nor were the next {self.max_skips})' if self.max_skips else ''
                raise FloatingPointError(
                    f'iteration {first} was not finite{more}: {self.failed[first]}. {_last_good(runner)}. Try '
                    'a lower learning rate, optim_wrapper.clip_grad, or default_hooks.check_finite.max_skips=3'
                )
        if self.failed:
            runner.logger.warning(f'not finite, so their steps were skipped: iterations {self.failed}')
        # Only the latest can become part of a longer sequence.
        self.failed = {i: what for i, what in self.failed.items() if i > runner.iter - self.max_skips}

    def _raise(self, runner: Runner, names: list[str]) -> None:
        bad = sorted(set(names) - (self.never_finite or set()))
        if bad:
            raise FloatingPointError(f'weights are no longer finite: {_some(bad)}. {_last_good(runner)}')


def _not_finite(state: dict[str, Any]) -> list[str]:
    """Name the tensors with non-finite values. Waits for the device only once."""
    tensors = {name: x for name, x in state.items() if isinstance(x, Tensor) and x.is_floating_point()}
    if not tensors:
        return []
    finite = torch.stack([x.isfinite().all() for x in tensors.values()]).tolist()
    return [name for name, ok in zip(tensors, finite) if not ok]


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f'{names[0]} and {len(names) - 1} more'


def _last_good(runner: Runner) -> str:
    try:
        path = latest_checkpoint(runner.work_dir)
    except ValueError:
        return f'None of the checkpoints in {runner.work_dir} is complete'
    return f'The last checkpoint is good: {path}' if path else 'There is no checkpoint yet'
