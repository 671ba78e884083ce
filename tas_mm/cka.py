"""Centred kernel alignment: how alike two networks' features are, whatever their shapes.

Linear CKA (Kornblith et al., arXiv 1905.00414) is 1 for features that are the same up to rotation and scale and near 0
for unrelated ones. It is summed over batches with the unbiased estimate of HSIC (Song et al., JMLR 2012), as Nguyen et
al. do (arXiv 2010.15327), so that the size of a batch does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gram(feature: Tensor) -> Tensor:
    """Products of all pairs of images, ``(B, ...)`` to ``(B, B)`` in float64, scaled, which CKA ignores."""
    feature = feature.flatten(1).double()
    feature = feature - feature.mean(dim=0)  # which changes no CKA, but keeps the numbers small
    return feature @ feature.T / feature.size(1)


def hsic(grams: Tensor) -> Tensor:
    """Unbiased Hilbert-Schmidt independence criterion of every two of ``M`` features.

    Args:
        grams (Tensor): Gram matrices ``(M, B, B)`` of the same ``B`` images, at least 4.

    Returns:
        Tensor: ``(M, M)``; may be slightly negative for unrelated features.

    Raises:
        ValueError: If there are fewer than 4 images.
    """
    n = grams.size(-1)
    if n < 4:
        raise ValueError(f'CKA of {n} images, but a batch of at least 4 is needed')
    grams = grams - torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1))
    sums = grams.sum(dim=(1, 2))
    rows = grams.sum(dim=2)
    products = torch.einsum('iab,jba->ij', grams, grams)
    return (products + sums[:, None] * sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows @ rows.T) / (n * (n - 3))


class CKA:
    """CKA of every two of several features, summed up batch by batch."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0

    def add(self, features: Sequence[Tensor]) -> None:
        """Add the features of one batch, each ``(B, ...)``."""
        self.total = self.total + hsic(torch.stack([gram(feature) for feature in features]).cpu())

    def value(self) -> Tensor:
        """CKA ``(M, M)``, with 1 on the diagonal."""
        scale = self.total.diagonal().clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        return self.total / scale[:, None] / scale
