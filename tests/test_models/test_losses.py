"""Losses against hand computation and independent formulas."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from tas_mm.models import InfoNCELoss, OFALoss, RSDLoss


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def ofa_formula(z_S, z_T, labels, gamma, tau):
    """The formula of the paper, written out over samples and classes in numpy float64."""
    p_S, p_T = softmax(z_S / tau), softmax(z_T / tau)
    total = 0.0
    for b, label in enumerate(labels):
        for c in range(z_S.shape[1]):
            y = float(c == label)
            total += -((p_T[b, c] + y) ** gamma - y) * math.log(p_S[b, c])
    return total / len(labels)


@pytest.mark.parametrize('gamma', [1.0, 1.3, 2.0])
@pytest.mark.parametrize('tau', [1.0, 2.5])
@pytest.mark.parametrize('soft', [False, True])
def test_ofa_equals_the_formula(gamma, tau, soft):
    rng = np.random.default_rng(0)
    z_S, z_T, labels = rng.normal(size=(6, 7)) * 3, rng.normal(size=(6, 7)) * 3, rng.integers(0, 7, 6)
    targets = torch.from_numpy(labels)
    if soft:  # mixup: 70 % of the label and 30 % of another
        targets = 0.7 * torch.eye(7)[targets] + 0.3 * torch.eye(7)[(targets + 1) % 7]
    loss = OFALoss(gamma=gamma, tau=tau)(torch.from_numpy(z_S), torch.from_numpy(z_T), targets)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(ofa_formula(z_S, z_T, labels, gamma, tau), rel=1e-12)


def test_ofa_with_gamma_1_is_soft_cross_entropy():
    z_S, z_T = torch.randn(4, 9), torch.randn(4, 9)
    expected = torch.nn.functional.cross_entropy(z_S, z_T.softmax(1))
    assert torch.allclose(OFALoss()(z_S, z_T, torch.arange(4)), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('gamma', [1.0, 1.3, 2.0])
def test_ofa_stays_finite_for_huge_logits_under_autocast(dtype, gamma):
    z_S = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
    z_T = torch.tensor([[-1e4, 1e4, 0.0], [1e4, -1e4, -1e4]], dtype=dtype)
    with torch.autocast('cpu', dtype=dtype):
        loss = OFALoss(gamma=gamma)(z_S, z_T, torch.tensor([0, 2]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(z_S.grad).all()


def test_ofa_weighs_the_loss_and_gives_the_target_no_gradient():
    z_S, z_T = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    labels = torch.tensor([0, 1, 2])
    assert torch.allclose(OFALoss(loss_weight=2.5)(z_S, z_T, labels), 2.5 * OFALoss()(z_S, z_T, labels))
    OFALoss()(z_S, z_T, labels).backward()
    assert z_T.grad is None
    OFALoss(detach_target=False)(z_S, z_T, labels).backward()
    assert z_T.grad is not None


def test_ofa_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match='gamma=0.5'):
        OFALoss(gamma=0.5)
    with pytest.raises(ValueError, match='tau=0'):
        OFALoss(tau=0)
    with pytest.raises(ValueError, match=r'\(2, 10\).*\(2, 100\).*num_classes'):
        OFALoss()(torch.randn(2, 10), torch.randn(2, 100), torch.tensor([0, 1]))


def test_info_nce_equals_a_case_by_hand():
    """Three samples. Unit vectors, so the similarities can be read off; s = 2."""
    a = torch.tensor([[3.0, 0.0], [0.0, 0.5], [1.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[2.0, 0.0], [0.0, 4.0], [-1.0, 0.0]], dtype=torch.float64)
    r = math.sqrt(0.5)
    similarities = [[1, 0, -1], [0, 1, 0], [r, r, -r]]
    rows = [math.log(sum(math.exp(2 * s) for s in row)) - 2 * row[i] for i, row in enumerate(similarities)]
    loss = InfoNCELoss(temperature=0.5)(a, b)
    assert loss.item() == pytest.approx(sum(rows) / 3, rel=1e-6)


def test_info_nce_does_not_see_the_length_of_features():
    a, b = torch.randn(5, 8), torch.randn(5, 8)
    loss = InfoNCELoss()
    assert torch.allclose(loss(a, b), loss(7 * a, 0.1 * b))


def test_info_nce_temperature_starts_at_the_papers_value_learns_and_is_clamped():
    loss = InfoNCELoss()
    assert loss.log_scale.exp().item() == pytest.approx(1 / 0.07)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    features = torch.eye(4)
    before = loss.log_scale.item()
    loss(features, features).backward()  # all right already: the sharper the better
    optimizer.step()
    assert loss.log_scale.item() > before
    with torch.no_grad():
        loss.log_scale.fill_(10.0)
    loss(features, features)
    assert loss.log_scale.exp().item() == pytest.approx(100)
    loss.zero_grad()
    loss(torch.eye(4), torch.roll(torch.eye(4), 1, 0)).backward()  # all wrong: at the limit it can still go down
    assert loss.log_scale.grad.item() > 0


def test_info_nce_with_a_fixed_temperature_has_nothing_to_learn():
    assert not any(p.requires_grad for p in InfoNCELoss(learnable=False).parameters())


def test_info_nce_maps_the_learner_to_the_targets_width():
    loss = InfoNCELoss(learner_dim=6, target_dim=9)
    a, b = torch.randn(4, 6, requires_grad=True), torch.randn(4, 9, requires_grad=True)
    loss(a, b).backward()
    assert a.grad is not None
    assert b.grad is None
    assert loss.projection.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match='learner_dim=6, target_dim=9'):
        InfoNCELoss()(a, b)


def test_info_nce_is_exact_in_half_precision():
    a, b = torch.randn(4, 8).half(), torch.randn(4, 8).half()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = InfoNCELoss()(a, b)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, InfoNCELoss()(a.float(), b.float()))


def test_rsd_equals_a_case_by_hand():
    """Two samples, so every standardized component is 1 or -1; C = [[1, -1], [1, -1]]."""
    loss = RSDLoss(2, 2, kappa=0.01, loss_weight=0.5)
    loss.head = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    torch.nn.init.eye_(loss.head[0].weight)
    student, teacher = torch.tensor([[1.0, 20.0], [3.0, 0.0]]), torch.tensor([[0.0, 5.0], [4.0, 7.0]])
    assert loss(student, teacher).item() == pytest.approx(0.5 * (0 + 4 + 0.01 * (1 + 1)), rel=1e-4)
    loss.reduction = 'mean'
    assert loss(student, teacher).item() == pytest.approx(0.5 * ((0 + 4) / 2 + 0.01 * (1 + 1) / 2), rel=1e-4)


def test_rsd_equals_correlations_that_numpy_finds():
    loss = RSDLoss(6, 9, kappa=0.3, loss_weight=1.0)
    assert [tuple(p.shape) for p in loss.parameters()] == [(12, 6), (12,), (12,), (9, 12)]  # s to 2 s to t, no biases
    with torch.no_grad():
        loss.head[-1].weight.mul_(100)  # so that the epsilon beside the standard deviation does not count
    student, teacher = torch.randn(16, 6), 3 * torch.randn(16, 9) + 5
    hidden = (student @ loss.head[0].weight.T).detach().numpy()
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    hidden = torch.nn.functional.gelu(torch.from_numpy(hidden)) @ loss.head[-1].weight.T
    both = np.corrcoef(teacher.numpy(), hidden.detach().numpy(), rowvar=False)[:9, 9:]
    expected = sum((both[i, j] - (i == j)) ** 2 * (1 if i == j else 0.3) for i in range(9) for j in range(9))
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-3)


def test_mean_of_rsd_is_the_sum_of_another_weight_and_kappa():
    width, weight, kappa = 5, 0.1, 0.01
    total = RSDLoss(4, width, kappa=kappa, loss_weight=weight)
    mean = RSDLoss(4, width, kappa=kappa * (width - 1), loss_weight=weight * width, reduction='mean')
    mean.load_state_dict(total.state_dict())
    student, teacher = torch.randn(8, 4), torch.randn(8, width)
    assert mean(student, teacher).item() == pytest.approx(total(student, teacher).item(), rel=1e-5)
    assert RSDLoss(4, 1, reduction='mean')(student, teacher[:, :1]).isfinite()  # no other component


def test_rsd_warns_once_of_a_teacher_too_wide_for_the_batch(logged):
    def warnings(images, **options):
        loss, before = RSDLoss(4, 40, kappa=0.1, **options), len(logged.records)
        for _ in range(2):
            loss(torch.randn(images, 4), torch.randn(images, 40))
        return [record.getMessage() for record in logged.records[before:]]

    (text,) = warnings(8)  # 0.1 * 39 / 7
    assert 'a teacher of 40 components, batches of 8 images' in text
    assert 'noise of 0.6 times' in text
    assert not warnings(16)
    assert not warnings(8, reduction='mean')


def test_rsd_trains_head_and_learner_only():
    loss = RSDLoss(4, 3)
    student, teacher = torch.randn(8, 4, requires_grad=True), torch.randn(8, 3, requires_grad=True)
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert all(x.grad.abs().sum() > 0 for x in (student, loss.head[0].weight, loss.head[-1].weight))
    assert not list(loss.buffers())
    with pytest.raises(ValueError, match='batch of 1 image has no correlations. Set train_dataloader.batch_size'):
        loss(student[:1], teacher[:1])
    for name, value in (('kappa', -1), ('head_ratio', 0), ('reduction', 'max')):
        with pytest.raises(ValueError, match=f'{name}={value!r}'):
            RSDLoss(4, 3, **{name: value})


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_rsd_is_exact_under_autocast(dtype):
    loss = RSDLoss(4, 3)
    student, teacher = 1e3 * torch.randn(8, 4).to(dtype), 1e3 * torch.randn(8, 3).to(dtype)
    with torch.autocast('cpu', dtype=dtype):
        value = loss(student, teacher)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(student.float(), teacher.float()))


@pytest.mark.parametrize(
    ('name', 'cfg'),
    [
        ('InfoNCELoss', {}),
        ('OFALoss', dict(gamma=1.3)),
        ('RSDLoss', dict(learner_dim=4, target_dim=6)),
        ('L2GProjector', None),
        ('ExitBranch', None),
        ('HybridAssistant', {}),
        ('PairDistiller', {}),
    ],
)
def test_components_are_registered_under_the_scope(name, cfg):
    assert MODELS.get(f'tas_mm.{name}').__module__.startswith('tas_mm.')
    if cfg is not None:
        MODELS.build(dict(type=f'tas_mm.{name}', **cfg))
