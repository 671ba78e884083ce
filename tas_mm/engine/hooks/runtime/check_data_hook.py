"""Find bad images and name them before they reach a network.

Images are checked in the loading processes, where their files are still known. This costs the training process nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from mmengine import dist
from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.engine.hooks import SwitchRecipeHook
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from tas_mm.models.distillers import interface_of
from tas_mm.models.utils import unwrap
from tas_mm.registry import HOOKS

from ...loader_checks import check_loader, check_smallest_batch


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Check the data loaders before training, and every image and label of training and validation.

    Args:
        skip_unreadable (bool): Whether training replaces an unreadable file by another image, with a warning that names
            the file. Useful for large pools of images. Defaults to False: the run stops.

    Raises:
        ValueError: From ``before_train``, if a loader gives nothing, a batch of one image to batch norm or a
            contrastive loss, or different batch sizes to the processes. From the loaders, for an image that cannot be
            read, is not finite, has a type or number of channels that the network does not accept, or has a label out
            of range.
    """

    priority = 'HIGHEST'  # before any other hook reads data

    def __init__(self, skip_unreadable: bool = False) -> None:
        self.skip_unreadable = skip_unreadable

    def before_train(self, runner: Runner) -> None:
        """Check the loaders and wrap their pipelines."""
        model = unwrap(runner.model)
        view = interface_of(model).student_view
        channels = view.in_channels if view else None
        classes = view.num_classes if view else getattr(getattr(model, 'head', None), 'num_classes', None)
        for key, loop in dict(train_dataloader=runner.train_loop, val_dataloader=runner.val_loop).items():
            if loop is None or isinstance(loop.dataloader.dataset, IterableDataset):  # it has no length to check
                continue
            check_loader(loop.dataloader, key, dist.get_world_size())
            if key == 'train_dataloader':
                check_smallest_batch(loop.dataloader, runner.model)
            skip = self.skip_unreadable and key == 'train_dataloader'
            _wrap(loop.dataloader.dataset, f'{key}.dataset', channels, classes, skip)
        for recipe in _recipes(runner):
            checked = CheckedPipeline(
                recipe['train_pipeline'], 'train_dataloader.dataset', channels, classes, self.skip_unreadable
            )
            recipe['train_pipeline'] = checked
        # A probe has its own classes.
        for key, dataset in getattr(runner.val_loop, 'probe_datasets', dict)().items():
            _wrap(dataset, key, channels)


def _recipes(runner: Runner) -> list[dict[str, Any]]:
    """Return the changes that hooks will make during training and that include a pipeline to check."""
    schedules = [hook.schedule.values() for hook in runner.hooks if isinstance(hook, SwitchRecipeHook)]
    return [recipe for schedule in schedules for recipe in schedule if 'train_pipeline' in recipe]


def _wrap(dataset: Dataset, *options: Any) -> None:
    """Wrap the pipelines of a data set. ``options`` are those of :class:`CheckedPipeline`."""
    for each in _datasets(dataset):
        if isinstance(getattr(each, 'pipeline', None), Compose):
            each.pipeline = CheckedPipeline(each.pipeline, *options)


def _datasets(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the data sets inside wrappers that repeat or join them."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner == [None]:
        yield dataset
    else:
        for each in inner:
            yield from _datasets(each)


class CheckedPipeline(Compose):
    """Pipeline that names the image for which it failed, and checks its results.

    Args:
        pipeline (Compose): The pipeline.
        key (str): Key of the data set in the config.
        channels (int, optional): Number of channels that the network accepts. Defaults to None: any.
        classes (int, optional): Number of classes. Defaults to None: any label.
        skip_unreadable (bool): Whether to return None for an unreadable file, so that MMEngine's data sets draw another
            image. Defaults to False.
    """

    def __init__(
        self,
        pipeline: Compose,
        key: str,
        channels: int | None = None,
        classes: int | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        self.transforms = pipeline.transforms
        self.key = key
        self.channels = channels
        self.classes = classes
        self.skip_unreadable = skip_unreadable
        self.skipped: set[str] = set()

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms on an item of the data set.

        Raises:
            ValueError: If a transform fails, or if the image or its label is unusable.
        """
        where = f'{self.key}: image {data.get("img_path") or "number " + str(data.get("sample_idx"))}'
        for transform in self.transforms:
            loads = type(transform).__name__.startswith('Load')
            try:
                data = transform(data)
            except Exception as error:
                problem = f'{where} cannot be read or transformed: {type(error).__name__}: {error}'
                if loads and self.skip_unreadable:
                    self._skip(where, problem)
                    return None
                skipping = ', or set default_hooks.check_data.skip_unreadable=True' if self._may_skip(loads) else ''
                raise ValueError(
                    f'{problem}. Repair the file or remove it from the data set{skipping}, then resume with --resume'
                ) from error
            if data is None:
                return None
        self._check(data, where)
        return data

    def _may_skip(self, loads: bool) -> bool:
        return loads and self.key == 'train_dataloader.dataset'

    def _skip(self, where: str, problem: str) -> None:
        """Warn about a file, once per process."""
        if where not in self.skipped:
            self.skipped.add(where)
            print_log(f'{problem}. Another image replaces it', logger='current', level=logging.WARNING)

    def _check(self, packed: dict, where: str) -> None:
        image = packed.get('inputs')
        if isinstance(image, Tensor):
            if self.channels and image.size(0) != self.channels:
                raise ValueError(
                    f'{where} has {image.size(0)} channels, but model.architecture takes {self.channels}. Set '
                    "color_type of LoadImageFromFile, 'color' or 'grayscale'"
                )
            if not (image.is_floating_point() or image.dtype == torch.uint8):
                raise ValueError(
                    f'{where} has type {image.dtype}. Expected torch.uint8, with 0 to 255, or floating point'
                )
            if image.is_floating_point() and not image.isfinite().all():
                raise ValueError(f'{where} has values that are not finite (NaN or infinity)')
        label = getattr(packed.get('data_samples'), 'gt_label', None)
        if self.classes and label is not None and not ((label >= 0) & (label < self.classes)).all():
            raise ValueError(
                f'{where} has label {label.tolist()}, but num_classes={self.classes} allows 0 to {self.classes - 1}'
            )
