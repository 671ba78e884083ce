"""Measure the teacher before training: the wrong weights, mean or order of classes cost a whole run otherwise."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, ValLoop, autocast
from torch.utils.data import DataLoader, Subset

from tas_mm.models.algorithms import TAS
from tas_mm.models.algorithms.tas import scored
from tas_mm.registry import HOOKS

from ..val_loop import TASValLoop


@HOOKS.register_module()
class CheckTeacherHook(Hook):
    """Validate the teacher on some validation images, once, and warn loudly if it knows too little.

    The images are spread evenly over the validation set and shared among all processes. A resumed run does not repeat
    it. Where the images are the whole set, the validation loop takes the result over instead of measuring again.

    Args:
        expected (float, optional): The accuracy in percent that the teacher is known to have; one that is clearly lower
            is warned of. Defaults to None.
        num_images (int): Validation images, at most; 0 for no check. Defaults to 1000.
        metric (str): What ``expected`` and chance are compared with, one of the evaluator's, in percent. Defaults to
            ``'accuracy/top1'``.
        tolerance (float): Percentage points below ``expected`` that are let pass, or three standard errors where those
            are more. Defaults to 3.

    Raises:
        ValueError: If ``expected`` is no percentage or ``num_images`` is negative.
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
                f'default_hooks.check_teacher.expected={expected}, but it is a percentage, above 1 and up to 100'
            )
        if num_images < 0:
            raise ValueError(f'default_hooks.check_teacher.num_images={num_images}, but it must be at least 0')
        self.expected = expected
        self.num_images = num_images
        self.metric = metric
        self.tolerance = tolerance

    def before_train(self, runner: Runner) -> None:
        """Measure, log, and warn."""
        algorithm = runner.model.module if is_model_wrapper(runner.model) else runner.model
        loop = runner.val_loop
        if not self.num_images or runner.iter or loop is None or not isinstance(algorithm, TAS):
            return
        if not algorithm.gives_logits:  # a detector
            return
        size = len(loop.dataloader.dataset)
        images = min(size, self.num_images)
        metrics, classes = self._measure(loop, algorithm, images)
        if images == size and isinstance(loop, TASValLoop):
            loop.teacher_metrics = metrics
        self._report(runner, metrics, images, classes)

    @torch.no_grad()
    def _measure(self, loop: ValLoop, algorithm: TAS, images: int) -> tuple[dict[str, float], int]:
        """The teacher's metrics on so many images, and its number of classes."""
        source = loop.dataloader
        spread = np.linspace(0, len(source.dataset), images, endpoint=False).astype(int)
        loader = DataLoader(
            Subset(source.dataset, spread[dist.get_rank() :: dist.get_world_size()].tolist()),
            batch_size=source.batch_size or getattr(source.batch_sampler, 'batch_size', 1),
            num_workers=source.num_workers,
            collate_fn=source.collate_fn,
        )
        evaluator = deepcopy(loop.evaluator)
        classes = 0
        for batch in loader:
            with autocast(enabled=loop.fp16):
                data = algorithm.data_preprocessor(batch, False)
                logits = algorithm.run_teacher(data['inputs'])
            evaluator.process(data_samples=scored(data['data_samples'], logits), data_batch=batch)
            classes = logits.size(1)
        return evaluator.evaluate(images), classes

    def _report(self, runner: Runner, metrics: dict[str, float], images: int, classes: int) -> None:
        """Log what was measured; warn if it is near chance or far below what is expected."""
        values = ', '.join(f'{name} {value:.2f}' for name, value in metrics.items())
        runner.logger.info(f'teacher, on {images} validation images: {values}')
        accuracy = metrics.get(self.metric)
        if accuracy is None:
            if self.expected is not None:
                runner.logger.warning(
                    f'default_hooks.check_teacher.metric={self.metric!r} was not measured; valid are '
                    f'{", ".join(metrics)}'
                )
            return
        chance = 100 / classes
        if accuracy < chance + _three_errors(chance, images):
            runner.logger.warning(
                f'THE TEACHER IS NEAR CHANCE: {self.metric} is {accuracy:.2f} on {images} validation images, and '
                f'guessing among {classes} classes gives {chance:.2f}. A student learns nothing from it. Look at '
                "model.teacher_ckpt, the mean, std and to_rgb of the teacher's data_preprocessor, and the order of its "
                'classes'
            )
        elif self.expected and accuracy < self.expected - max(self.tolerance, _three_errors(self.expected, images)):
            runner.logger.warning(
                f'THE TEACHER IS FAR BELOW WHAT IS EXPECTED: {self.metric} is {accuracy:.2f} on {images} validation '
                f'images, and default_hooks.check_teacher.expected={self.expected}. Look at model.teacher_ckpt, the '
                "mean, std and to_rgb of the teacher's data_preprocessor, and val_dataloader's pipeline"
            )


def _three_errors(accuracy: float, images: int) -> float:
    """Three standard errors of an accuracy in percent that was measured on so many images."""
    return 3 * math.sqrt(accuracy * (100 - accuracy) / images)
