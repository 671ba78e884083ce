"""Sampler that gives each of several data sets a fixed share of every batch, for few labeled and many other images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import ConcatDataset, Sampler

from tas_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShareSampler(Sampler):
    """Sampler of a ``ConcatDataset`` that gives each of its data sets a fixed share of every batch.

    With ``shares=(1, 3)`` and ``batch_size=32`` every batch of every process has 8 images of the first data set and 24
    of the second. If ``batch_size`` is not a multiple of the sum of the shares, batches differ by one image.

    Each data set is shuffled, and shuffled again after one pass over it, independently of the epoch. The order depends
    only on the seed, the epoch and the position, so a run can resume in the middle of an epoch.

    Args:
        dataset (ConcatDataset): The joined data sets.
        shares (sequence): Share of each data set, a whole number of at least 1.
        epoch_of (int, optional): Index of the data set whose full pass is an epoch. Defaults to None: the one that
            takes longest, so that an epoch contains all images.
        seed (int, optional): Seed of the order. Defaults to None: random, but equal in all processes.

    Raises:
        ValueError: If a share is not a whole number, or if there is not one share for each data set.

    Examples:
        >>> from torch.utils.data import ConcatDataset
        >>> from tas_mm.datasets import ShareSampler
        >>> labeled, unlabeled = range(4), range(100, 112)
        >>> sampler = ShareSampler(ConcatDataset([labeled, unlabeled]), shares=(1, 3), seed=0)
        >>> is_labeled = [index < 4 for index in sampler]
        >>> len(sampler), is_labeled[0:8]
        (16, [False, True, False, False, False, True, False, False])
    """

    def __init__(
        self,
        dataset: ConcatDataset,
        shares: Sequence[int],
        epoch_of: int | None = None,
        seed: int | None = None,
    ) -> None:
        key, parts = 'train_dataloader.sampler', getattr(dataset, 'datasets', None)
        if parts is None:
            raise ValueError(f'{key}: ShareSampler needs a ConcatDataset. Got {type(dataset).__name__}')
        if len(shares) != len(parts) or not all(isinstance(share, int) and share > 0 for share in shares):
            raise ValueError(
                f'{key}.shares={tuple(shares)}. Expected {len(parts)} whole numbers of at least 1, one for each of '
                'the data sets'
            )
        if epoch_of is not None and epoch_of not in range(len(parts)):
            raise ValueError(f'{key}.epoch_of={epoch_of!r}. Expected None, or 0 to {len(parts) - 1}')
        self.rank, self.world_size = get_dist_info()
        self.shares = tuple(shares)
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.sizes = [len(part) for part in parts]
        self.starts = [0, *accumulate(self.sizes)][:-1]
        rounds = [-(-size // (share * self.world_size)) for size, share in zip(self.sizes, self.shares)]
        self.rounds = max(rounds) if epoch_of is None else rounds[epoch_of]
        self.order = _spread(self.shares)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, as in torch's ``DistributedSampler``."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Yield this process's indices of an epoch."""
        seen = [self.epoch * self.rounds * share * self.world_size for share in self.shares]
        passes: list[tuple[int, np.ndarray | None]] = [(-1, None)] * len(self.shares)
        for _ in range(self.rounds):
            for part in self.order:
                number, position = divmod(seen[part] + self.rank, self.sizes[part])
                if number != passes[part][0]:
                    generator = np.random.default_rng((self.seed, part, number))
                    passes[part] = number, generator.permutation(self.sizes[part])
                seen[part] += self.world_size
                yield self.starts[part] + int(passes[part][1][position])

    def __len__(self) -> int:
        """Return the number of this process's images in an epoch."""
        return self.rounds * len(self.order)


def _spread(shares: Sequence[int]) -> list[int]:
    """List each index as often as its share, spread evenly."""
    total, order, given = sum(shares), [], [0] * len(shares)
    for step in range(1, total + 1):
        late = [share * step - count * total for share, count in zip(shares, given)]
        order.append(late.index(max(late)))
        given[order[-1]] += 1
    return order
