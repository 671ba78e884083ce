"""Check data loaders before training: whether they give batches, of sizes that all layers and processes can use."""

from __future__ import annotations

from mmengine import dist
from mmengine.dataset import InfiniteSampler
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Sampler

from tas_mm.models.losses import InfoNCELoss, RSDLoss


def check_loader(loader: DataLoader, key: str, processes: int = 1) -> None:
    """Check that a loader gives batches, and the same batch sizes to all processes.

    Args:
        loader (DataLoader): The loader.
        key (str): Key of the loader in the config.
        processes (int): Number of processes that share the data. Defaults to 1.

    Raises:
        ValueError: If it gives no batch, or an unequal number of images to the processes.
    """
    size, batch_size, drop_last, sampler = len(loader.dataset), *_batches(loader)
    if _length(loader) == 0:
        raise ValueError(
            f'{key} gives no batch: its data set has {size} images, batch_size={batch_size} and '
            f'drop_last={drop_last}. Check data_root, ann_file and data_prefix of the data set'
        )
    if getattr(sampler, 'round_up', True) or drop_last is None or batch_size is None or key != 'train_dataloader':
        return
    least, most = size // processes, -(-size // processes)
    uneven = least // batch_size != most // batch_size if drop_last else least != most
    if uneven:
        raise ValueError(
            f'{key}.sampler.round_up=False shares {size} images unevenly among {processes} processes, which wait for '
            f'each other in every iteration. Set round_up=True{"" if drop_last else " or drop_last=True"}'
        )


def check_smallest_batch(loader: DataLoader, model: nn.Module) -> None:
    """Check that no training batch has only one image if a layer or loss compares the images of a batch.

    Args:
        loader (DataLoader): The training loader.
        model (nn.Module): The model to train.

    Raises:
        ValueError: If a batch would have only one image.
    """
    batch_size, drop_last, sampler = _batches(loader)
    if batch_size is None or drop_last is None or sampler is None:
        return
    size = _length(sampler)
    ends = not (drop_last or size is None or isinstance(sampler, InfiniteSampler))
    if batch_size > 1 and not (ends and size % batch_size == 1):
        return
    # With more processes the contrastive losses gather the other batches.
    alone = not dist.is_distributed()
    comparing = (_BatchNorm, InfoNCELoss, RSDLoss) if alone else (_BatchNorm,)
    sharing = () if alone else (nn.SyncBatchNorm,)
    model.train()  # as the loop will; frozen norms and those with norm_eval=True stay in eval mode
    at_work = [m for m in model.modules() if m.training and not isinstance(m, sharing)]
    names = {type(m).__name__ for m in at_work if isinstance(m, comparing)}
    if names:
        raise ValueError(
            f'train_dataloader gives a batch of 1 image (batch_size={batch_size} of {size} images, '
            f'drop_last={drop_last}), which is too few for {" and ".join(sorted(names))}. Set drop_last=True, '
            'or another batch_size of at least 2'
        )


def _batches(loader: DataLoader) -> tuple[int | None, bool | None, Sampler | None]:
    """Return batch size, ``drop_last`` and sampler, each None if a custom batch sampler does not have it.

    This reads the batch sampler, because with a custom one the loader itself has torch's defaults.
    """
    return tuple(getattr(loader.batch_sampler, name, None) for name in ('batch_size', 'drop_last', 'sampler'))


def _length(loader: DataLoader | Sampler) -> int | None:
    """Return the length, or None if there is none, as for an endless sampler."""
    try:
        return len(loader)
    except TypeError:
        return None
