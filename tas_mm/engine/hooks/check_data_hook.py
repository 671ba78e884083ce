"""Say which image is bad, and how, before it reaches a network.

Images are looked at where they are made, in the loading processes, which costs the training process nothing and is the
last place that knows their files.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine import dist
from mmengine.dataset import Compose, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from tas_mm.models.losses import InfoNCELoss, RSDLoss
from tas_mm.registry import HOOKS


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Look at the data loaders before training, and at every image and label of training and validation.

    Raises:
        ValueError: From ``before_train``, if a loader gives nothing, a batch of one image to batch norm or a
            contrastive loss, or batches of different sizes to different processes; from the loaders, for an image that
            cannot be read, is not finite, is of a type or has a number of channels that the network does not take, or
            has a label out of range.
    """

    priority = 'HIGHEST'  # before any other hook has anything read

    def before_train(self, runner: Runner) -> None:
        """Check the loaders and put a watch on their pipelines."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        view = getattr(getattr(model, 'distiller', None), 'student_view', None)
        classes = view.num_classes if view else getattr(getattr(model, 'head', None), 'num_classes', None)
        for key, loop in dict(train_dataloader=runner.train_loop, val_dataloader=runner.val_loop).items():
            if loop is None or isinstance(loop.dataloader.dataset, IterableDataset):  # which has no length to check
                continue
            check_loader(loop.dataloader, key, dist.get_world_size())
            if key == 'train_dataloader':
                check_smallest_batch(loop.dataloader, runner.model)
            for dataset in _datasets(loop.dataloader.dataset):
                if isinstance(getattr(dataset, 'pipeline', None), Compose):
                    dataset.pipeline = CheckedPipeline(dataset.pipeline, key, view and view.in_channels, classes)


def check_loader(loader: DataLoader, key: str, processes: int = 1) -> None:
    """Check that a loader gives batches, and batches of one size to all processes.

    Args:
        loader (DataLoader): The loader.
        key (str): Where it stands in the config.
        processes (int): How many processes share the data. Defaults to 1.

    Raises:
        ValueError: If it does not.
    """
    size, batch_size, drop_last, sampler = len(loader.dataset), *_batches(loader)
    if _length(loader) == 0:
        raise ValueError(
            f'{key} gives no batch: its dataset has {size} images, batch_size={batch_size} and '
            f'drop_last={drop_last}. Look at data_root, ann_file and data_prefix of the dataset'
        )
    if getattr(sampler, 'round_up', True) or drop_last is None or batch_size is None or key != 'train_dataloader':
        return
    least, most = size // processes, -(-size // processes)
    uneven = least // batch_size != most // batch_size if drop_last else least != most
    if uneven:
        raise ValueError(
            f'{key}.sampler.round_up=False shares {size} images unevenly among {processes} processes, which wait for '
            f'each other in every iteration: set round_up=True{"" if drop_last else " or drop_last=True"}'
        )


def check_smallest_batch(loader: DataLoader, model: nn.Module) -> None:
    """Check that no training batch is of one image where something in the model compares images of a batch.

    Args:
        loader (DataLoader): Of the training.
        model (nn.Module): What is trained.

    Raises:
        ValueError: If one is.
    """
    batch_size, drop_last, sampler = _batches(loader)
    if batch_size is None or drop_last is None or sampler is None:
        return
    size = _length(sampler)
    ends = not (drop_last or size is None or isinstance(sampler, InfiniteSampler))
    if batch_size > 1 and not (ends and size % batch_size == 1):
        return
    # With more processes the contrastive losses gather what the others have.
    alone = not dist.is_distributed()
    comparing = (_BatchNorm, InfoNCELoss, RSDLoss) if alone else (_BatchNorm,)
    sharing = () if alone else (nn.SyncBatchNorm,)
    model.train()  # as the loop will, which leaves a norm that is frozen or of norm_eval=True as it is
    at_work = [m for m in model.modules() if m.training and not isinstance(m, sharing)]
    names = {type(m).__name__ for m in at_work if isinstance(m, comparing)}
    if names:
        raise ValueError(
            f'train_dataloader gives a batch of 1 image (batch_size={batch_size} of {size} images, '
            f'drop_last={drop_last}), which is too few for {" and ".join(sorted(names))}: set drop_last=True, '
            'or another batch_size of at least 2'
        )


def _batches(loader: DataLoader) -> tuple[int | None, bool | None, Sampler | None]:
    """Batch size, ``drop_last`` and sampler, each None if a batch sampler of one's own does not tell.

    It is asked, since for it the loader would give torch's defaults.
    """
    return tuple(getattr(loader.batch_sampler, name, None) for name in ('batch_size', 'drop_last', 'sampler'))


def _length(loader: DataLoader | Sampler) -> int | None:
    """How many it gives; None if it does not tell, such as one without end."""
    try:
        return len(loader)
    except TypeError:
        return None


def _datasets(dataset: Dataset) -> Iterator[Dataset]:
    """The datasets inside of wrappers that repeat or join them."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner == [None]:
        yield dataset
    else:
        for each in inner:
            yield from _datasets(each)


class CheckedPipeline(Compose):
    """A pipeline that says which image it failed for, and looks at what it made.

    Args:
        pipeline (Compose): The pipeline.
        key (str): Where its loader stands in the config.
        channels (int, optional): Of the images that the network takes. Defaults to None: any number.
        classes (int, optional): That the network knows. Defaults to None: any label.
    """

    def __init__(self, pipeline: Compose, key: str, channels: int | None = None, classes: int | None = None) -> None:
        self.transforms = pipeline.transforms
        self.key = key
        self.channels = channels
        self.classes = classes

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms on what the dataset says of an image.

        Raises:
            ValueError: If they fail, or the image or its label is of no use.
        """
        where = f'{self.key}.dataset: image {data.get("img_path") or "number " + str(data.get("sample_idx"))}'
        try:
            packed = super().__call__(data)
        except Exception as error:
            raise ValueError(
                f'{where} cannot be read or transformed: {type(error).__name__}: {error}. Repair the file or take it '
                'out of the dataset, then go on with --resume'
            ) from error
        if packed is not None:
            self._check(packed, where)
        return packed

    def _check(self, packed: dict, where: str) -> None:
        image = packed.get('inputs')
        if isinstance(image, Tensor):
            if self.channels and image.size(0) != self.channels:
                raise ValueError(
                    f'{where} has {image.size(0)} channels, but model.architecture takes {self.channels}: set '
                    "color_type of LoadImageFromFile, 'color' or 'grayscale'"
                )
            if not (image.is_floating_point() or image.dtype == torch.uint8):
                raise ValueError(
                    f'{where} is of {image.dtype}, but valid are torch.uint8, with 0 to 255, and floating point'
                )
            if image.is_floating_point() and not image.isfinite().all():
                raise ValueError(f'{where} holds values that are not finite (NaN or infinity)')
        label = getattr(packed.get('data_samples'), 'gt_label', None)
        if self.classes and label is not None and not ((label >= 0) & (label < self.classes)).all():
            raise ValueError(
                f'{where} has label {label.tolist()}, but num_classes={self.classes} allows 0 to {self.classes - 1}'
            )
