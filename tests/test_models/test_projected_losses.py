"""Losses with a trained student side: cosine and smooth L1, balanced or not, queue, dense maps, self-similarity."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from tas_mm.models import CosineSmoothL1Loss, DenseMSELoss, QueueKLLoss, SelfSimilarityLoss
from tas_mm.models.losses.balance import Balance, equalizer
from tests import networks
from tests.networks import SIZE

MAPS = dict(SelfSimilarityLoss={}, DenseMSELoss={}, CosineSmoothL1Loss=dict(beta=2.0))
VECTORS = dict(
    CosineSmoothL1Loss={},
    QueueKLLoss=dict(queue_size=6),
    DenseMSELoss={},
    balanced=dict(type='tas_mm.CosineSmoothL1Loss', balanced=True),
)


def config(name, options):
    return {'type': f'tas_mm.{name}', **options}


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def kl(p, q):
    return (p * np.log(p / q)).sum(axis=-1)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(), 0.5 * (1 - 24 / 25) + 0.5 * 0.5),  # both differences are 1: where the line begins, 1 - 0.5
        (dict(beta=2.0), 0.5 * (1 - 24 / 25) + 0.5 * 0.25),  # 1 / (2 beta)
        (dict(cosine_weight=2.0, smooth_l1_weight=0.0, loss_weight=3.0), 3 * 2 * (1 - 24 / 25)),
    ],
)
def test_cosine_and_smooth_l1_equal_a_case_by_hand(options, expected):
    loss = CosineSmoothL1Loss(**options)
    assert loss(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])).item() == pytest.approx(expected)
    maps = [torch.tensor(x).view(1, 2, 1, 1).expand(1, 2, 2, 3) for x in ([3.0, 4.0], [4.0, 3.0])]
    assert loss(*maps).item() == pytest.approx(expected)


def test_cosine_compares_maps_on_the_coarser_grid():
    coarse = torch.randn(2, 3, 2, 2)
    fine = F.interpolate(coarse, scale_factor=2)  # the mean of four equal pixels is the pixel
    for pair in ((coarse, fine), (fine, coarse)):
        assert CosineSmoothL1Loss()(*pair).item() == pytest.approx(0, abs=1e-6)


def test_unics_projection_is_a_gelu_mlp():
    loss = CosineSmoothL1Loss(learner_dim=4, target_dim=6)
    assert [tuple(p.shape) for p in loss.parameters()] == [(16, 4), (16,), (6, 16), (6,)]
    s, t = torch.randn(5, 4), torch.randn(5, 6)
    first, _, last = loss.projection
    h = F.gelu(s @ first.weight.T + first.bias) @ last.weight.T + last.bias
    expected = 0.5 * (1 - F.cosine_similarity(h, t)).mean() + 0.5 * F.smooth_l1_loss(h, t)
    torch.testing.assert_close(loss(s, t), expected)


def test_queue_equals_the_formula_over_steps_and_keeps_the_last_features():
    rng = np.random.default_rng(0)
    loss = QueueKLLoss(3, 5, queue_size=6, temperature=0.2)
    queue = np.zeros((6, 5))
    for _ in range(3):
        s, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 5))
        h = unit(s @ loss.projection.weight.detach().double().numpy().T)  # its bias is 0
        queue = np.concatenate([unit(t), queue])[:6]
        expected = kl(softmax(unit(t) @ queue.T / 0.2), softmax(h @ queue.T / 0.2)).mean()
        value = loss(torch.from_numpy(s).float(), torch.from_numpy(t).float())
        assert value.item() == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(loss.queue.numpy(), queue, atol=1e-6)


def test_queue_stands_still_in_eval_mode_survives_a_checkpoint_and_may_be_smaller_than_the_batch():
    loss, s, t = QueueKLLoss(4, 4, queue_size=3), torch.randn(5, 4), torch.randn(5, 4)
    loss(s, t)
    torch.testing.assert_close(loss.queue, F.normalize(t[:3], dim=1))
    kept = loss.queue.clone()
    loss.eval()(s, torch.randn(5, 4))
    assert torch.equal(loss.queue, kept)
    resumed = QueueKLLoss(4, 4, queue_size=3)
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed.queue, kept)
    with pytest.raises(ValueError, match=r'\(5, 4, 2, 2\). Expected \(B, C\)'):
        loss(torch.randn(5, 4, 2, 2), torch.randn(5, 4, 2, 2))


def test_self_similarity_equals_a_case_by_hand():
    """Two positions: different in the teacher, equal in the student, whose distribution is then even."""
    teacher = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).view(1, 2, 1, 2)
    student = torch.tensor([[2.0, 5.0], [2.0, 5.0]]).view(1, 2, 1, 2)
    p = 1 / (1 + math.exp(-1 / 0.5))
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    assert SelfSimilarityLoss(temperature=0.5)(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_self_similarity_is_taken_on_the_teachers_grid_after_the_linear_layer():
    loss, s, t = SelfSimilarityLoss(3, 4), torch.randn(2, 3, 2, 2), torch.randn(2, 4, 3, 3)
    h = F.interpolate(F.conv2d(s, loss.projection.weight[..., None, None]), (3, 3), mode='bilinear')
    h, t_ = (unit(x.detach().double().flatten(2).transpose(1, 2).numpy()) for x in (h, t))
    rows = kl(softmax(t_ @ t_.swapaxes(1, 2) / 0.07), softmax(h @ h.swapaxes(1, 2) / 0.07))
    assert loss(s, t).item() == pytest.approx(rows.mean(), rel=1e-4)
    with pytest.raises(ValueError, match='read one of stage1 to stage4, in a term'):
        loss(torch.randn(2, 3), torch.randn(2, 4))


def test_dense_error_is_that_of_a_1x1_convolution_resized():
    loss, s, t = DenseMSELoss(3, 4, loss_weight=2.0), torch.randn(2, 3, 2, 2), torch.randn(2, 4, 3, 5)
    h = F.interpolate(F.conv2d(s, loss.projection.weight[..., None, None]), (3, 5), mode='bilinear')
    torch.testing.assert_close(loss(s, t), 2 * F.mse_loss(h, t))


@pytest.mark.parametrize('order', [1, 2, 4, 12, 36, 192, 384, 768])
def test_the_equalizer_is_orthogonal_and_even_wherever_a_hadamard_matrix_is_known(order):
    matrix = equalizer(order)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(order, dtype=torch.float64))
    if order != 36:  # Paley's second construction, which is left out: a random matrix
        torch.testing.assert_close(matrix.abs(), torch.full_like(matrix, order**-0.5))


@pytest.mark.parametrize('dim', [8, 12, 7])
def test_balance_is_the_formula_over_all_features_so_far(dim):
    balance = Balance(dim, refresh=3)
    mixing = torch.randn(dim, dim) * torch.logspace(-1, 2, dim) + 3
    batches = [torch.randn(50, dim) @ mixing + 5 for _ in range(4)]
    given = [balance(y) for y in batches]
    all_features = torch.cat(batches).double().numpy()
    y, covariance = batches[-1].double().numpy(), np.cov(all_features.T)
    variances, vectors = np.linalg.eigh(covariance)
    h, scale = equalizer(dim).numpy(), np.sqrt(variances.mean())
    wanted = ((y - all_features.mean(0)) @ vectors) / scale
    found = given[-1].double().numpy() @ h  # what is left is U' (y - mu) / phi, up to the signs of the eigenvectors
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), rtol=2e-2, atol=2e-3)
    if dim != 7:  # no Hadamard matrix
        transformed = (all_features - all_features.mean(0)) @ balance.matrix.double().numpy().T
        np.testing.assert_allclose(transformed.var(axis=0, ddof=1), 1, rtol=1e-3)
    lengths = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (y, given[-1].double().numpy())]
    np.testing.assert_allclose(lengths[1], lengths[0] / scale, rtol=1e-2, atol=1e-3)  # distances keep their proportions


def test_balance_waits_for_its_refresh_does_not_flip_and_survives_a_checkpoint():
    balance, spread = Balance(8, refresh=2), torch.logspace(2, -2, 8)
    y = torch.randn(400, 8) * spread
    first = balance(y)
    applied = balance.matrix.clone()
    balance(torch.randn(400, 8) * spread)
    assert torch.equal(balance.matrix, applied)
    third = balance(y)
    assert not torch.equal(balance.matrix, applied)
    assert F.cosine_similarity(first, third).min() > 0.5  # a flipped eigenvector would turn some of them around
    resumed = Balance(8, refresh=2)
    resumed.load_state_dict(balance.state_dict())
    assert torch.equal(resumed(y), balance(y))
    assert torch.equal(balance.eval()(y), balance(y))
    assert int(balance.batches) == int(resumed.batches) == 4


def test_a_balanced_target_is_compared_in_the_place_of_the_features():
    loss = CosineSmoothL1Loss(4, 8, balanced=True, beta=2.0)
    s, t = torch.randn(40, 4), 100 * torch.randn(40, 8) + 7
    twin = Balance(8)
    expected = CosineSmoothL1Loss(beta=2.0)(loss.projection(s), twin(t))
    torch.testing.assert_close(loss(s, t), expected)
    maps = t.view(10, 4, 8).movedim(1, -1).unflatten(2, (2, 2))
    torch.testing.assert_close(Balance(8)(maps).movedim(1, -1).reshape(40, 8), Balance(8)(t))


@pytest.mark.parametrize(
    ('name', 'options', 'shape'),
    [(name, options, (4,)) for name, options in VECTORS.items()]
    + [(name, options, (4, 3, 3)) for name, options in MAPS.items()],
    ids=str,
)
def test_losses_have_a_value_per_image_train_the_student_side_alone_and_are_exact_under_autocast(name, options, shape):
    torch.manual_seed(0)
    cfg = dict(config(name, options), learner_dim=5, target_dim=8)
    dims = shape[1:]
    s, t = (torch.randn(4, width, *dims, requires_grad=True) for width in (5, 8))
    loss, each = MODELS.build(cfg), MODELS.build(dict(cfg, reduction='none', loss_weight=2.0))
    each.load_state_dict(loss.state_dict())
    whole = loss(s, t)
    values = each(s, t)
    assert values.shape == (4,)
    torch.testing.assert_close(values.mean(), 2 * whole)
    whole.backward()
    assert t.grad is None
    assert all(x.grad.abs().sum() > 0 for x in (s, *loss.parameters()))
    loss.eval(), each.eval()
    half = [x.detach().bfloat16() for x in (s, t)]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(*half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(*(x.float() for x in half)))
    keeps = MODELS.build(dict(cfg, detach_target=False))
    keeps(s, t).backward()
    assert t.grad is not None


@pytest.mark.parametrize(
    ('cls', 'options', 'message'),
    [
        (CosineSmoothL1Loss, dict(learner_dim=3), 'Expected both widths or neither'),
        (CosineSmoothL1Loss, dict(beta=0), 'beta=0. Expected a positive number'),
        (CosineSmoothL1Loss, dict(cosine_weight=-1), 'cosine_weight=-1'),
        (CosineSmoothL1Loss, dict(balanced=True), 'balanced=True needs learner_dim and target_dim'),
        (CosineSmoothL1Loss, dict(learner_dim=3, target_dim=3, balanced=True, refresh=0), 'refresh=0'),
        (DenseMSELoss, dict(reduction='sum'), "reduction='sum'. Expected one of mean, none"),
        (DenseMSELoss, dict(learner_dim=3, target_dim=3, hidden_ratio=0), 'hidden_ratio=0'),
        (QueueKLLoss, dict(learner_dim=3, target_dim=3, queue_size=0), 'queue_size=0. Expected at least 1'),
        (QueueKLLoss, dict(learner_dim=3, target_dim=3, temperature=0), 'temperature=0'),
        (SelfSimilarityLoss, dict(temperature=-1), 'temperature=-1'),
    ],
)
def test_bad_options_are_refused(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**options)


def test_widths_that_differ_need_a_projection():
    with pytest.raises(ValueError, match='learner_dim=3, target_dim=4'):
        DenseMSELoss()(torch.randn(2, 3), torch.randn(2, 4))


@pytest.mark.parametrize('name', VECTORS)
def test_every_loss_of_pooled_features_goes_on_the_papers_paths(build_tas, batch, name):
    feature_loss = config(name, VECTORS[name])
    algorithm = build_tas(
        networks.resnet(), networks.swin(), distiller=dict(type='tas_mm.TASDistiller', feature_loss=feature_loss)
    )
    losses = algorithm(*batch, mode='loss')
    assert {f'distill.loss_{path}_nce' for path in ('ts', 'ta', 'as')} < losses.keys()
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)


def test_each_is_a_term_that_reads_what_it_compares(build_tas, batch):
    names = ('CosineSmoothL1Loss', 'QueueKLLoss', 'DenseMSELoss', 'SelfSimilarityLoss')
    terms = {name.lower(): dict(type=f'tas_mm.{name}') for name in names}
    terms['patches'] = dict(type='tas_mm.CosineSmoothL1Loss', reads='stage4', balanced=True)
    distiller = dict(type='tas_mm.PairDistiller', input_size=SIZE, terms=terms)
    algorithm = build_tas(networks.resnet(), networks.vit(), distiller=distiller)
    assert algorithm.distiller.student_reads == {'feature', 'stage4'}
    losses = algorithm(*batch, mode='loss')
    assert len(losses) == 6
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)
    kept = {name for name in algorithm.state_dict() if name.endswith('.queue') or '.balance.' in name}
    assert any(name.endswith('queueklloss.queue') for name in kept)
    assert len(kept) == 1 + 6  # and the balance's moments and what is applied


def test_maps_of_the_teacher_are_compared_after_its_final_norm(build_tas, batch):
    distiller = dict(type='tas_mm.PairDistiller', input_size=SIZE, terms=dict(dense=dict(type='tas_mm.DenseMSELoss')))
    algorithm = build_tas(networks.resnet(), networks.vit(out_type='featmap'), distiller=distiller).eval()
    value = algorithm(*batch, mode='loss')['distill.loss_dense']
    with torch.no_grad():
        s, t = (
            net.extract_feat(batch[0], stage='backbone')[-1] for net in (algorithm.student, algorithm.teacher.network)
        )
        loss = DenseMSELoss(128, 32)
        loss.load_state_dict(algorithm.distiller.distill_losses.loss_dense.state_dict())
        torch.testing.assert_close(value, loss(s, t))


@pytest.mark.parametrize('shape', [(5,), (5, 3, 3)])
def test_losses_are_registered_and_do_not_need_labels(shape):
    assert MODELS.get('tas_mm.QueueKLLoss') is QueueKLLoss
    x = torch.randn(2, *shape)
    assert DenseMSELoss()(x, x).item() == 0
