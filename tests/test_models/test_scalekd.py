"""ScaleKD: its two distances, its projector and the teacher's stage 4 in the student's path; and several readings."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from scipy.fft import dctn, idctn

from tas_mm.models import CrossAttentionProjector, HybridAssistant, ScaleKDLoss, view_of
from tas_mm.models.losses.final_norm import FinalNorm
from tas_mm.models.losses.scalekd import distance
from tests import networks
from tests.networks import SIZE

NETWORKS = dict(
    resnet=networks.resnet(), swin=networks.swin(), vit=networks.vit(drop_path_rate=0.0), mixer=networks.mixer()
)


@pytest.fixture
def distilled(build_tas):
    def distilled(student='resnet', teacher='swin', **options):
        distiller = dict(
            type='tas_mm.PairDistiller',
            input_size=SIZE,
            terms=dict(scalekd=dict(type='tas_mm.ScaleKDLoss', **options)),
        )
        return build_tas(NETWORKS[student], NETWORKS[teacher], distiller=distiller)

    return distilled


def projectors(student3, student4, teacher3, teacher4, grid4=(7, 7)):
    """One view's two projectors, in the authors' shapes: that of stage 3 ends before the teacher's patch merging."""
    return (
        CrossAttentionProjector(student3, teacher3, (14, 14), (14, 14)),
        CrossAttentionProjector(student4, teacher4, grid4, (7, 7), own_queries=False),
    )


@pytest.mark.parametrize(
    ('pair', 'expected'),
    [
        ((1024, 2048, 768, 1536), 175_958_016),  # Swin-L to ResNet-50
        ((1024, 2048, 384, 768), 119_255_040),  # Swin-S to ResNet-50
        ((512, 1024, 768, 1536), 97_004_544),  # Swin-L to MobileNetV1
        ((768, 768, 768, 1536, (14, 14)), 94_159_872),  # Swin-L to DeiT-B
        ((384, 384, 768, 1536, (14, 14)), 74_390_016),  # Swin-L to DeiT-S
        ((256, 512, 384, 768), 24_417_792),  # Swin-T to ResNet-18
    ],
)
def test_projectors_in_the_authors_shapes_have_the_authors_numbers_of_parameters(pair, expected):
    with torch.device('meta'):
        both = projectors(*pair)
    assert 2 * sum(p.numel() for projector in both for p in projector.parameters()) == expected


def test_distances_are_sums_over_positions_of_unit_vectors():
    a = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 7, 7)
    b = torch.tensor([4.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 7, 7)
    assert distance(a, b).item() == pytest.approx(49 * (0.2**2 + 0.2**2))  # (0.6, 0.8) and (0.8, 0.6)
    x = torch.randn(2, 5, 4, 6)
    assert torch.equal(distance(x, x), torch.zeros(2))
    torch.testing.assert_close(distance(x, -x), torch.full((2,), 4.0 * 4 * 6))  # the most there can be
    assert distance(x + 10, x, centered=True).max() < 1e-6
    assert distance(x.bfloat16(), x).dtype == torch.float32


def test_the_centered_distance_is_that_of_a_cosine_transform_without_its_first_coefficient():
    a, b = torch.randn(2, 3, 8, 7, 7, dtype=torch.float64)

    def without_first(x):
        coefficients = dctn(x.numpy(), type=2, axes=(2, 3))
        coefficients[:, :, 0, 0] = 0
        return torch.from_numpy(idctn(coefficients, type=2, axes=(2, 3)))

    expected = distance(without_first(a), without_first(b))
    torch.testing.assert_close(distance(a, b, centered=True), expected, rtol=1e-12, atol=1e-12)


def test_the_projector_is_attention_from_queries_to_the_map_and_a_feed_forward_layer():
    projector = CrossAttentionProjector(6, 8, (3, 4), (2, 2), num_heads=2, softmax_scale=3.0).eval()
    torch.nn.init.normal_(projector.pos_embed)
    x = torch.randn(5, 6, 3, 4)
    seen = F.relu(projector.norm(projector.conv(x))) + projector.pos_embed
    seen = seen.flatten(2).transpose(1, 2)
    queries = F.relu(projector.embed_queries(projector.queries)).flatten(2).transpose(1, 2)
    q, k, v = projector.to_q(queries), projector.to_k(seen), projector.to_v(seen)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (3 * q[..., head] @ k[..., head].transpose(1, 2) / math.sqrt(4)).softmax(dim=-1)
        heads.append(weights @ v[..., head])
    y = projector.out_norm(projector.out(torch.cat(heads, dim=-1)))
    first, last = projector.ffn.layers[0][0], projector.ffn.layers[1]
    y = y + last(F.relu(first(y)))
    torch.testing.assert_close(projector(x), y.transpose(1, 2).unflatten(2, (2, 2)))
    assert tuple(first.weight.shape) == (32, 8)
    # Given queries, here those that it learned itself, take the place of its own.
    torch.testing.assert_close(projector(x, projector.queries.expand(5, -1, -1, -1)), projector(x))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(any_size=True), 'its positions belong to one grid'),
        (dict(num_heads=3), 'num_heads=3. Expected a divisor of the width 8'),
        (dict(width_ratio=0), 'width_ratio=0'),
    ],
)
def test_the_projector_refuses_what_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        CrossAttentionProjector(6, 8, (3, 4), (2, 2), **options)


def test_a_narrower_projector_ends_with_a_linear_layer():
    projector = CrossAttentionProjector(6, 100, (3, 4), (2, 2), width_ratio=0.5, norm='LN2d')
    assert projector(torch.randn(2, 6, 3, 4)).shape == (2, 100, 2, 2)
    assert projector.to_q.weight.shape == (50, 50)


@pytest.mark.parametrize('student', ['resnet', 'vit', 'swin'])
@pytest.mark.parametrize('teacher', ['swin', 'vit', 'mixer', 'resnet'])
def test_any_pair_takes_a_step_and_the_teacher_gets_no_gradient(distilled, batch, student, teacher):
    algorithm = distilled(student, teacher)
    before = copy.deepcopy(algorithm.teacher.network.state_dict())
    losses = algorithm(*batch, mode='loss')
    algorithm.parse_losses(losses)[0].backward()
    assert losses.keys() == {'student.loss', 'distill.loss_scalekd'}
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)
    assert all(p.grad is None for p in algorithm.teacher.network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in algorithm.teacher.network.state_dict().items())


def test_the_loss_is_its_formula(distilled, batch):
    """Two views: the student's stage 3 through the teacher, and the student's stage 4 asked by what came of that."""
    algorithm = distilled(loss_weight=2.0).eval()
    distiller, loss = algorithm.distiller, algorithm.distiller.distill_losses.loss_scalekd
    value = algorithm(*batch, mode='loss')['distill.loss_scalekd']
    student, _ = distiller.student_observer(algorithm.student, batch[0], mode='tensor')
    backbone = algorithm.teacher.network.backbone
    normed = {}
    hook = backbone.norm3.register_forward_hook(lambda module, args, output: normed.update(x=output))
    algorithm.teacher.network(batch[0], mode='tensor')
    target, expected = normed['x'].transpose(1, 2).unflatten(2, (2, 2)), 0
    for view, weight in (('direct', 0.08), ('alternative', 0.06)):
        x = loss.stage3[view](student.map(3))
        tokens, _ = backbone.stages[3](x.flatten(2).transpose(1, 2), (2, 2))
        q = backbone.norm3(tokens).transpose(1, 2).unflatten(2, (2, 2))
        z = loss.stage4[view](student.map(4), q)
        for y in (q, z):
            expected += weight * 49 / 4 * distance(y, target, centered=view == 'alternative').mean()
    hook.remove()
    torch.testing.assert_close(value, 2 * expected)


def test_the_gradient_reaches_the_students_stage_3_through_the_teacher(distilled, batch):
    """Also from the distance of stage 4 alone: what it asks with keeps its gradient."""
    algorithm = distilled()
    loss = algorithm.distiller.distill_losses.loss_scalekd
    student, _ = algorithm.distiller.student_observer(algorithm.student, batch[0], mode='tensor')
    stage3, stage4 = (student.map(stage).detach().requires_grad_() for stage in (3, 4))
    q = loss._through_teacher(loss.stage3['direct'](stage3))
    target = torch.randn_like(q)
    asked = torch.autograd.grad(distance(loss.stage4['direct'](stage4, q), target).sum(), stage3, retain_graph=True)
    direct = torch.autograd.grad(distance(q, target).sum(), stage3)
    assert all(grad[0].abs().sum() > 0 for grad in (asked, direct))


@pytest.mark.parametrize(('proxy', 'passes'), [(True, 3), (False, 1)])
def test_without_the_proxy_path_no_module_of_the_teacher_runs_a_second_time(distilled, batch, proxy, passes):
    algorithm, calls = distilled(proxy=proxy), []
    for module in algorithm.teacher.network.modules():
        module.register_forward_hook(lambda module, *args: calls.append(module))
    losses = algorithm(*batch, mode='loss')
    assert calls.count(algorithm.teacher.network.backbone.stages[3]) == passes
    assert proxy or len(calls) == len(set(calls))
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)


def test_a_view_of_weight_0_has_no_projectors_and_images_have_a_value_each(distilled, batch):
    algorithm = distilled(weights=(0.08, 0), reduction='none')
    loss = algorithm.distiller.distill_losses.loss_scalekd
    assert {*loss.stage3} == {*loss.stage4} == {'direct'}
    assert algorithm(*batch, mode='loss')['distill.loss_scalekd'].shape == (4,)


@pytest.mark.parametrize(('name', 'norm'), [('swin', 'backbone.norm3'), ('vit', 'backbone.ln1'), ('resnet', None)])
def test_the_final_norm_is_found(build, name, norm):
    model = build(NETWORKS[name])
    assert FinalNorm(view_of(model, (SIZE, SIZE))).name == norm


def test_a_teacher_in_bfloat16_under_autocast(build_tas, batch):
    distiller = dict(type='tas_mm.PairDistiller', input_size=SIZE, terms=dict(s=dict(type='tas_mm.ScaleKDLoss')))
    algorithm = build_tas(NETWORKS['resnet'], NETWORKS['swin'], distiller=distiller, teacher_dtype='bfloat16')
    kinds = set()
    projector = algorithm.distiller.distill_losses.loss_s.stage4['direct'].out
    projector.register_forward_hook(lambda module, args, output: kinds.add(output.dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = algorithm(*batch, mode='loss')
    assert losses['distill.loss_s'].dtype == torch.float32
    assert kinds == {torch.bfloat16}  # its networks keep the autocast
    algorithm.parse_losses(losses)[0].backward()
    assert all(torch.isfinite(p.grad).all() for p in algorithm.parameters() if p.grad is not None)


def test_mmrazors_form_of_several_readings_equals_the_term(build_tas, distilled, batch):
    short = distilled().eval()
    config = short.distiller.razor_config()
    mapping = config['loss_forward_mappings']['loss_scalekd']
    assert {name: record['recorder'] for name, record in mapping.items()} == dict(
        stage3_S='stage3', stage4_S='stage4', stage4_T='stage4'
    )
    distiller = dict(type='tas_mm.PairDistiller', input_size=SIZE, **config)
    explicit = build_tas(NETWORKS['resnet'], NETWORKS['swin'], distiller=distiller).eval()
    explicit.load_state_dict(short.state_dict())
    explicit.teacher.network.load_state_dict(short.teacher.network.state_dict())
    for expected, value in zip(short(*batch, mode='loss').values(), explicit(*batch, mode='loss').values()):
        assert torch.equal(expected, value)


@pytest.mark.parametrize(
    ('term', 'message'),
    [
        (
            dict(reads='stage4'),
            'ScaleKDLoss compares stage3_S, stage4_S, stage4_T, but reads gives it 2: stage4',
        ),
        (dict(reads=dict(student=('stage3', 'stage7'))), r'terms.scalekd.reads=.*Expected one of logits, '),
        (
            dict(connector=dict(type='tas_mm.LinearProjector')),
            'connector: the student reads stage3, stage4. Expected one reading',
        ),
        (dict(weights=(0, 0)), r'weights=\(0, 0\). Expected two numbers of at least 0, not both 0'),
        (dict(reduction='sum'), "reduction='sum'"),
    ],
)
def test_bad_options_are_refused(distilled, term, message):
    with pytest.raises(ValueError, match=message):
        distilled(**term)


def test_a_teacher_whose_stage_4_does_not_run_alone_is_refused_with_a_way_out(build, monkeypatch):
    student, teacher = (view_of(build(NETWORKS[name]), (SIZE, SIZE)) for name in ('resnet', 'swin'))
    monkeypatch.setattr(type(teacher), 'check_tail', lambda *args: (_ for _ in ()).throw(ValueError('no tail')))
    with pytest.raises(ValueError, match='no tail. Set proxy=False for ScaleKDLoss, or use another teacher'):
        ScaleKDLoss().bind(student, teacher)
    ScaleKDLoss(proxy=False).bind(student, teacher)


def test_the_assistant_takes_the_projector(build_tas, batch):
    assistant = dict(projector=dict(type='tas_mm.CrossAttentionProjector'))
    distiller = dict(type='tas_mm.TASDistiller', assistant=assistant)
    algorithm = build_tas(NETWORKS['resnet'], NETWORKS['swin'], distiller=distiller)
    assert isinstance(algorithm.distiller.assistant, HybridAssistant)
    assert isinstance(algorithm.distiller.assistant.projector, CrossAttentionProjector)
    losses = algorithm(*batch, mode='loss')
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)
