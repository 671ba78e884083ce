"""One training step of a config, for timing, measuring and counting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from tas_mm.config import pipeline_size
from tas_mm.engine.launch import use_mixed_precision

from ..counting import counting
from ..trial import build_model, synthetic_batch
from .memory import PeakMemory

WARM_UP = 2
"""Warm-up rounds of :func:`take_turns`, which are not counted."""


class Step:
    """Training step of a config on synthetic images: forward, backward, optimizer.

    Args:
        cfg (Config): Training config.
        batch_size (int): Number of images per step. Defaults to 16.
        device (str): Device of the step. Defaults to ``'cpu'``.
        amp (str, optional): Type of automatic mixed precision: ``'bfloat16'``, or ``'float16'``, whose loss is scaled
            on a GPU. Defaults to None.
        compile (bool | dict): Whether to compile both networks of a ``tas_mm.TAS``, or options of ``torch.compile``.
            Plain MMRazor ignores it. Defaults to False.

    Examples:
        >>> from tas_mm.analysis.benchmark.named import named_config
        >>> from tas_mm.analysis.benchmark.step import Step
        >>> step = Step(named_config('tas_mm::quickstart/tas.py'), batch_size=2)
        >>> step.seconds() > 0
        True
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int = 16,
        device: str = 'cpu',
        amp: str | None = None,
        compile: bool | dict = False,
    ) -> None:
        self.autocast = nullcontext()
        if amp and device == 'cpu':  # MMEngine's wrapper needs a GPU
            self.autocast = torch.autocast('cpu', getattr(torch, amp))
        elif amp:
            use_mixed_precision(cfg, amp)
        if compile and cfg.model.type != 'SingleTeacherDistill':
            cfg.model.compile = compile
        self.model = build_model(cfg).to(device)
        self.model.train()  # MMRazor's train() returns None
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        inputs, samples = synthetic_batch(self.model, batch_size, pipeline_size(cfg))
        self.data = dict(inputs=inputs, data_samples=samples)
        self.device = device

    def take(self) -> None:
        """Take a step."""
        with self.optimizer.optim_context(self.model), self.autocast:
            losses = self.model(**self.data, mode='loss')
        self.optimizer.update_params(self.model.parse_losses(losses)[0])

    def now(self) -> float:
        """Return the time in seconds, after the device has finished its work."""
        if self.device.startswith('cuda'):
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self) -> float:
        """Take a step and return its time."""
        start = self.now()
        self.take()
        return self.now() - start

    def memory(self) -> float:
        """Take a step. Return its peak memory minus the memory in use before, in MiB."""
        peak = PeakMemory(self.device)
        peak.start()
        self.seconds()
        return peak.stop()

    def multiply_adds(self) -> float:
        """Take a step. Return the multiply-adds of its forward and backward pass."""
        with counting() as counter:
            self.take()
        return counter.get_total_flops() / 2

    def trained(self) -> int:
        """Return the number of trained parameters."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)


def take_turns(steps: Sequence[Step], rounds: int) -> list[list[float]]:
    """Take one step of each in turn, so that other load on the machine affects all of them. Return seconds by step.

    Args:
        steps (sequence): The steps.
        rounds (int): Number of counted rounds.
    """
    times = [[step.seconds() for step in steps] for _ in range(rounds + WARM_UP)]
    return [list(taken) for taken in zip(*times[WARM_UP:])]
