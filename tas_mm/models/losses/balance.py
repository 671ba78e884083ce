"""Balance: a teacher's features with variance 1 in every channel, by one rotation and one scale.

Source: PHI-S, arXiv 2410.01680, the standardization used by RADIO and NVIDIA TAO.
"""

from __future__ import annotations

import math

import torch
from mmengine import dist
from scipy.linalg import circulant, hadamard
from torch import Tensor, nn


class Balance(nn.Module):
    r"""Isotropic standardization: center, rotate so that every channel has the same variance, and scale to 1.

    .. math:: y' = \phi^{-1} H U^\top (y - \mu)

    :math:`\mu` is the mean of the features and :math:`U` are the eigenvectors of their covariance. :math:`\phi` is the
    root of the mean eigenvalue, and :math:`H` is an orthogonal matrix of equal entries (:func:`equalizer`). One scale
    for all directions keeps the proportions between distances, which whitening does not.

    The statistics cover all features seen in training mode, in all processes. They are kept as running moments. The
    transform is updated from them after the first batch and then every ``refresh`` batches. Eigenvectors keep their
    signs, so that the target does not jump. Everything is in buffers, so checkpoints include it. A distributed run
    that is resumed continues from the moments of the first process.

    Args:
        dim (int): Width of the features.
        refresh (int): Number of batches between two updates of the transform. Defaults to 100.

    Raises:
        ValueError: If ``refresh`` is below 1.

    Examples:
        >>> import torch
        >>> from tas_mm.models.losses.balance import Balance
        >>> y = torch.randn(1000, 4) * torch.tensor([100.0, 10.0, 1.0, 0.1]) + 5
        >>> Balance(4)(y).var(dim=0)
        tensor([1.0000, 1.0000, 1.0000, 1.0000])
    """

    def __init__(self, dim: int, refresh: int = 100) -> None:
        super().__init__()
        if not refresh >= 1:
            raise ValueError(f'refresh={refresh}. Expected at least 1')
        self.refresh = refresh
        self.register_buffer('batches', torch.zeros((), dtype=torch.int64))
        self.register_buffer('count', torch.zeros(()))
        self.register_buffer('mean', torch.zeros(dim))
        self.register_buffer('scatter', torch.zeros(dim, dim))  # sum of squared deviations from the mean
        self.register_buffer('center', torch.zeros(dim))
        self.register_buffer('matrix', torch.eye(dim))
        self.register_buffer('equalizer', equalizer(dim).float(), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        """Balance features ``(B, C)``, or the positions of maps ``(B, C, H, W)``."""
        rows = y.movedim(1, -1)
        if self.training:
            self._see(rows.detach().flatten(0, -2).to(self.mean))
        center, matrix = self.center.to(y), self.matrix.to(y)
        return ((rows - center) @ matrix.T).movedim(-1, 1)

    @torch.no_grad()
    def _see(self, rows: Tensor) -> None:
        """Add features ``(N, C)`` to the moments, and update the transform if it is due."""
        mean, total = rows.mean(dim=0), self.count + len(rows)
        centered, shift = rows - mean, mean - self.mean
        self.scatter += centered.T @ centered + torch.outer(shift, shift) * (self.count * len(rows) / total)
        self.mean += shift * (len(rows) / total)
        self.count.copy_(total)
        if int(self.batches) % self.refresh == 0:
            self._apply_moments()
        self.batches += 1

    def _apply_moments(self) -> None:
        """Compute center and rotation from the moments of all processes."""
        count, mean, scatter = (x.clone() for x in (self.count, self.mean, self.scatter))
        if dist.is_distributed():
            mean *= count
            dist.all_reduce(count)
            dist.all_reduce(mean)
            mean /= count
            shift = self.mean - mean
            scatter += torch.outer(shift, shift) * self.count
            dist.all_reduce(scatter)
        values, vectors = torch.linalg.eigh(scatter / (count - 1).clamp_min(1))
        before = (self.equalizer.T @ self.matrix).T  # the current eigenvectors, up to scale
        signs = torch.where((before * vectors).sum(dim=0) < 0, -1.0, 1.0)
        scale = values.clamp_min(0).mean().sqrt().clamp_min(torch.finfo(values.dtype).tiny ** 0.5)
        self.center.copy_(mean)
        self.matrix.copy_(self.equalizer @ (vectors * signs).T / scale)
        if dist.is_distributed():
            dist.broadcast(self.matrix)  # eigenvectors may differ in the last bits between machines


def equalizer(order: int) -> Tensor:
    """Return an orthogonal matrix that spreads every direction evenly over all channels.

    It is a Hadamard matrix divided by the root of its order: Sylvester's, or its product with one of Paley's (192, 384,
    768, 1280, ...). Where neither exists, it is a fixed random orthogonal matrix, which makes variances about equal.

    Args:
        order (int): Number of rows and columns.
    """
    block = order & -order  # the largest power of two that divides the order
    while block:
        core = order // block
        if core == 1 or (core % 4 == 0 and is_prime(core - 1)):
            signs = torch.from_numpy(hadamard(block)).double()
            return torch.kron(signs, torch.ones(1, 1) if core == 1 else paley(core)) / math.sqrt(order)
        block //= 2
    noise = torch.randn(order, order, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(noise)[0]


def paley(order: int) -> Tensor:
    """Return the Hadamard matrix of Paley's first construction, for a prime ``order - 1`` that is 3 modulo 4."""
    prime = order - 1
    squares = {i * i % prime for i in range(1, prime)}
    signs = torch.from_numpy(circulant([0] + [1 if i in squares else -1 for i in range(1, prime)]))
    matrix = torch.eye(order, dtype=torch.float64)
    matrix[0, 1:], matrix[1:, 0] = 1, -1
    matrix[1:, 1:] += signs
    return matrix


def is_prime(number: int) -> bool:
    """Return True if a number is prime."""
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
