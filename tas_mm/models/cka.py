"""Centered kernel alignment (CKA): how similar the features of two networks are, whatever their shapes.

Linear CKA (Kornblith et al., arXiv 1905.00414) is 1 for features that are equal up to rotation and scale, and near 0
for unrelated ones. It is summed over batches with the unbiased estimate of HSIC (Song et al., JMLR 2012), as Nguyen et
al. do (arXiv 2010.15327). So the batch size does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gram(feature: Tensor) -> Tensor:
    """Return the Gram matrix ``(B, B)`` of features ``(B, ...)`` in float64, up to a scale that CKA ignores."""
    feature = feature.flatten(1).double()
    feature = feature - feature.mean(dim=0)  # keeps the numbers small and does not change CKA
    return feature @ feature.T / feature.size(1)


def hsic(grams: Tensor) -> Tensor:
    """Compute the unbiased Hilbert-Schmidt independence criterion of every pair of ``M`` features.

    Args:
        grams (Tensor): Gram matrices ``(M, B, B)`` of the same ``B`` images, at least 4.

    Returns:
        Tensor: Values ``(M, M)``. They may be slightly negative for unrelated features.

    Raises:
        ValueError: If there are fewer than 4 images.
    """
    n = grams.size(-1)
    if n < 4:
        raise ValueError(f'CKA of {n} images. Expected a batch of at least 4')
    grams = grams - torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1))
    sums = grams.sum(dim=(1, 2))
    rows = grams.sum(dim=2)
    products = torch.einsum('iab,jba->ij', grams, grams)
    return (products + sums[:, None] * sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows @ rows.T) / (n * (n - 3))


class CKA:
    """CKA of every pair of several features, accumulated batch by batch.

    Examples:
        >>> import torch
        >>> from tas_mm.models.cka import CKA
        >>> x, cka = torch.randn(16, 8), CKA()
        >>> cka.add([x, 2 * x + 1])
        >>> round(float(cka.value()[0, 1]), 3)
        1.0
    """

    def __init__(self) -> None:
        self.total = torch.zeros(())

    def add(self, features: Sequence[Tensor]) -> None:
        """Add the features of one batch, each ``(B, ...)``."""
        self.total = self.total + hsic(torch.stack([gram(feature) for feature in features]).cpu())

    def value(self) -> Tensor:
        """Return the CKA of every pair, ``(M, M)``, with 1 on the diagonal."""
        scale = self.total.diagonal().clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        return self.total / scale[:, None] / scale
