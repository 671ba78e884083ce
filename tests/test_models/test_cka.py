"""Centered kernel alignment."""

import pytest
import torch

from tas_mm.models.cka import CKA, gram, hsic


def cka(*batches):
    measured = CKA()
    for batch in batches:
        measured.add(batch)
    return measured.value()


def test_against_the_definition():
    """The unbiased HSIC as a mean over all draws of distinct images (Song et al., 2012, theorem 2)."""
    n = 6
    x, y = torch.randn(n, 3, dtype=torch.float64), torch.randn(n, 5, dtype=torch.float64)
    k, m = gram(x), gram(y)
    draws = [
        (i, j, p, q) for i in range(n) for j in range(n) for p in range(n) for q in range(n) if len({i, j, p, q}) == 4
    ]
    expected = sum(k[i, j] * (m[i, j] + m[p, q] - 2 * m[i, p]) for i, j, p, q in draws) / len(draws)
    assert hsic(torch.stack([k, m]))[0, 1] == pytest.approx(float(expected), rel=1e-9)


def test_sees_through_rotation_scale_and_shape_but_not_noise():
    x = torch.randn(64, 16)
    rotation = torch.linalg.qr(torch.randn(16, 16))[0]
    other = (3 * x @ rotation + 5).view(64, 4, 2, 2)
    values = cka([x, other, torch.randn(64, 16)])
    assert values[0, 1] == pytest.approx(1, abs=1e-4)
    assert abs(values[0, 2]) < 0.1
    assert torch.allclose(values.diagonal(), torch.ones(3, dtype=torch.float64))


def test_small_batches_give_what_a_large_one_gives():
    x = torch.randn(2048, 8)
    y = x @ torch.randn(8, 8) + torch.randn(2048, 8)
    whole = cka([x, y])[0, 1]
    parts = cka(*[[a, b] for a, b in zip(x.split(16), y.split(16))])[0, 1]
    assert abs(parts - whole) < 0.03


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match='CKA of 3 images'):
        cka([torch.randn(3, 2)])
