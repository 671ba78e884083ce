"""Measure the teacher before training, since wrong weights, mean or class order would waste the run."""

from __future__ import annotations

import math

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import Runner, ValLoop, autocast
from torch.utils.data import DataLoader, Subset

from tas_mm.models.algorithms import TAS
from tas_mm.models.algorithms.tas import scored
from tas_mm.models.utils import unwrap
from tas_mm.registry import HOOKS

from ...metrics import describe, evaluator_for, scalars
from ...val_loop import TASValLoop


@HOOKS.register_module()
class CheckTeacherHook(Hook):
    """Validate the teacher once on some validation images, and warn if its accuracy is too low.

    The images are spread evenly over the validation set and shared among all processes. A resumed run does not repeat
    the check. If the images are the whole set, the validation loop reuses the result.

    Args:
        expected (float, optional): The teacher's known accuracy in percent. A clearly lower one causes a warning.
            Defaults to None.
        num_images (int): Maximum number of validation images. 0 disables the check. Defaults to 1000.
        metric (str): The evaluator's metric, in percent, to compare with ``expected`` and with chance. Defaults to
            ``'accuracy/top1'``.
        tolerance (float): Accepted difference to ``expected`` in percentage points, or three standard errors if those
            are more. Defaults to 3.

    Raises:
        ValueError: If ``expected`` is not a percentage or ``num_images`` is negative.
    """

    def __init__(
        self,
        expected: float | None = None,
        num_images: int = 1000,
        metric: str = 'accuracy/top1',
        tolerance: float = 3.0,
    ) -> None:
        if expected is not None and not 1 < expected <= 100:
            raise ValueError(
                f'default_hooks.check_teacher.expected={expected}. Expected a percentage above 1 and up to 100'
            )
        if num_images < 0:
            raise ValueError(f'default_hooks.check_teacher.num_images={num_images}. Expected at least 0')
        self.expected = expected
        self.num_images = num_images
        self.metric = metric
        self.tolerance = tolerance

    def before_train(self, runner: Runner) -> None:
        """Measure the teacher, log the result, and warn if it is too low."""
        algorithm = unwrap(runner.model)
        loop = runner.val_loop
        if not self.num_images or runner.iter or loop is None or not isinstance(algorithm, TAS):
            return
        # Without logits (a detector or a headless teacher) or metrics there is nothing to compare.
        if 'teacher' not in algorithm.predicting_roles or not loop.evaluator.metrics:
            return
        size = len(loop.dataloader.dataset)
        images = min(size, self.num_images)
        metrics, classes = self._measure(loop, algorithm, images)
        if images == size and isinstance(loop, TASValLoop):
            loop.teacher_metrics = metrics
        self._report(runner, metrics, images, classes)

    @torch.no_grad()
    def _measure(self, loop: ValLoop, algorithm: TAS, images: int) -> tuple[dict[str, float], int]:
        """Measure the teacher on some images. Return its metrics and its number of classes."""
        source = loop.dataloader
        spread = np.linspace(0, len(source.dataset), images, endpoint=False).astype(int)
        loader = DataLoader(
            Subset(source.dataset, spread[dist.get_rank() :: dist.get_world_size()].tolist()),
            batch_size=source.batch_size or getattr(source.batch_sampler, 'batch_size', 1),
            num_workers=source.num_workers,
            collate_fn=source.collate_fn,
        )
        evaluator = evaluator_for('teacher', loop.evaluator)
        classes = 0
        for batch in loader:
            with autocast(enabled=loop.fp16):
                data = algorithm.data_preprocessor(batch, False)
                logits = algorithm.teacher.logits(data['inputs'])
            evaluator.process(data_samples=scored(data['data_samples'], logits), data_batch=batch)
            classes = logits.size(1)
        return evaluator.evaluate(images), classes

    def _report(self, runner: Runner, metrics: dict[str, float], images: int, classes: int) -> None:
        """Log the metrics. Warn if they are near chance or far below the expected value."""
        runner.logger.info(f'teacher, on {images} validation images: {describe(metrics)}')
        accuracy = scalars(metrics).get(self.metric)
        if accuracy is None:
            if self.expected is not None:
                runner.logger.warning(
                    f'default_hooks.check_teacher.metric={self.metric!r} was not measured. Expected one of '
                    f'{", ".join(scalars(metrics))}'
                )
            return
        chance = 100 / classes
        if accuracy < chance + _three_errors(chance, images):
            runner.logger.warning(
                f'THE TEACHER IS NEAR CHANCE: {self.metric} is {accuracy:.2f} on {images} validation images, but '
                f'guessing among {classes} classes gives {chance:.2f}. A student learns nothing from it. Check '
                "model.teacher_ckpt, the mean, std and to_rgb of the teacher's data_preprocessor, and the order of its "
                'classes'
            )
        elif self.expected and accuracy < self.expected - max(self.tolerance, _three_errors(self.expected, images)):
            runner.logger.warning(
                f'THE TEACHER IS FAR BELOW WHAT IS EXPECTED: {self.metric} is {accuracy:.2f} on {images} validation '
                f'images, but default_hooks.check_teacher.expected={self.expected}. Check model.teacher_ckpt, the '
                "mean, std and to_rgb of the teacher's data_preprocessor, and val_dataloader's pipeline"
            )


def _three_errors(accuracy: float, images: int) -> float:
    """Return three standard errors of an accuracy in percent, measured on ``images`` images."""
    return 3 * math.sqrt(accuracy * (100 - accuracy) / images)
