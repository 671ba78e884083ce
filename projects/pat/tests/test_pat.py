"""PAT: attention between the student's stages, and a teacher that is prompted and yet stays what it is."""

import copy

import pytest
import torch
import torch.nn.functional as F

from projects.pat.loss import hierarchical
from projects.pat.prompted_teacher import PromptedTeacher, add_map
from tas_mm.models import view_of
from tests import networks
from tests.networks import SIZE
from tests.specimens import SPECIMENS, classifier

NETWORKS = dict(
    resnet=networks.resnet(),
    swin=networks.swin(),
    vit=networks.vit(),
    mixer=networks.mixer(),
    timm_vit=dict(
        type='TimmClassifier',
        _scope_='mmpretrain',
        model_name='vit_tiny_patch16_224',
        img_size=SIZE,
        depth=4,
        embed_dim=48,
        num_classes=networks.NUM_CLASSES,
        loss=dict(type='CrossEntropyLoss'),
    ),
)


PAT = dict(dim=16, num_heads=2, num_queries=16)
TNT = 'TNT'  # writes into what a stage gave
SOME = [  # one of each kind of native form
    *('ResNet', 'SwinTransformer', 'VisionTransformer', 'MlpMixer', 'HRNet', 'ConvNeXt', 'MobileViT', 'XCiT'),
    TNT,
]


@pytest.fixture
def distilled(build_tas):
    def distilled(student='resnet', teacher='swin', prompted=0.0, **options):
        distiller = dict(type='projects.pat.PATDistiller', input_size=SIZE, pat=PAT)
        algorithm = build_tas(NETWORKS[student], NETWORKS[teacher], distiller=distiller, **options)
        for prompt in algorithm.distiller.pat.prompted_teacher.prompts:
            torch.nn.init.constant_(prompt.factor, prompted)
        return algorithm

    return distilled


def step(algorithm, batch):
    losses = algorithm(*batch, mode='loss')
    algorithm.parse_losses(losses)[0].backward()
    return losses['distill.loss_pat']


def recorded(view, images):
    """Return a network's stages and logits."""
    given = {}
    hooks = [
        view.model.get_submodule(stage.source).register_forward_hook(
            lambda module, inputs, output, k=k: given.update({k: output})
        )
        for k, stage in enumerate(view.stages, 1)
    ]
    with torch.no_grad():
        logits = view.model.eval()(images, mode='tensor')
    for hook in hooks:
        hook.remove()
    return given, logits


def test_maps_are_compared_as_they_are_and_by_their_averages():
    given, wanted = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    given[0, 0, 0, 0] = 4.0
    # All: 16 / 16. Averages of 2x2: one is 1, so 1 / 4. The average of all: (4 / 16) ** 2.
    expected = (1.0 + 0.5 * 0.25 + 0.25 * 0.0625) / 1.75
    assert hierarchical(given, wanted).item() == pytest.approx(expected)
    assert hierarchical(given[..., :1, :1], wanted[..., :1, :1]).item() == pytest.approx(16.0)


@pytest.mark.parametrize('teacher', NETWORKS)
def test_the_prompted_teacher_starts_as_the_teacher(distilled, batch, teacher):
    algorithm = distilled(teacher=teacher)
    view = algorithm.distiller.teacher_view
    given, logits = recorded(view, batch[0])
    maps, prompted = algorithm.distiller.pat.prompted_teacher(view, given[1], {})
    torch.testing.assert_close(prompted, logits, atol=1e-5, rtol=1e-5)
    for k, x in enumerate(maps, 1):
        torch.testing.assert_close(x, view.to_map(given[k], k), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[] if name in SOME else pytest.mark.all_configs) for name in SPECIMENS]
)
def test_any_backbone_can_be_prompted_but_the_one_that_writes_into_what_a_stage_gave(name):
    """Prompts that add nothing change nothing."""
    view = view_of(classifier(name), (SPECIMENS[name].size,) * 2, 'model.teacher')
    teacher = PromptedTeacher(view)
    if SPECIMENS[name].backbone['type'] == TNT:
        with pytest.raises(ValueError, match='model.teacher: PAT cannot prompt TNT. Run from the output of backbone'):
            teacher.check(view)
    else:
        teacher.check(view)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_map_is_added_and_class_tokens_stay(build, name):
    view = view_of(build(NETWORKS[name]), (SIZE, SIZE))
    native = recorded(view, torch.randn(2, 3, SIZE, SIZE))[0][2]
    x = torch.randn_like(view.to_map(native, 2))
    added = add_map(view, native, x, 2)
    torch.testing.assert_close(view.to_map(added, 2), view.to_map(native, 2) + x)
    if 'vit' in name:
        assert torch.equal(added[:, 0], native[:, 0])


def test_the_loss_is_what_the_formula_says(distilled, batch):
    """The prompted teacher layer by layer, attention head by head."""
    algorithm = distilled('swin', 'resnet', prompted=0.5).eval()  # batch norm of the adapters as at the start
    loss = algorithm.distiller.pat
    prompts = loss.prompted_teacher.prompts
    student, teacher = algorithm.distiller.views
    seen, _ = recorded(student, batch[0])
    known, logits = recorded(teacher, batch[0])
    net = teacher.model
    with torch.no_grad():
        x, maps = known[1], [known[1]]
        for i in (1, 2, 3):
            after = known[i + 1]  # of the shape of the gap, which is zero in a first step
            x = getattr(net.backbone, f'layer{i + 1}')(x + prompts[i - 1](x, torch.zeros_like(after)))
            maps.append(x)
        prompted = net.head.fc(x.mean((2, 3)))
        p, q = logits.softmax(1), prompted.softmax(1)
        expected = (p * (p / q).log()).sum(1).mean()

        tokens = []
        for k, embed in enumerate(loss.attention.embeds, 1):
            m = student.to_map(seen[k], k)
            wanted = 2 * embed.kernel_size[0]
            tokens.append(embed(m if m.size(2) == wanted else F.interpolate(m, (wanted, wanted))).flatten(2))
        tokens = torch.cat(tokens, 2).transpose(1, 2)  # BxNxC: 4 stages of 2x2 regions
        query, key, value = loss.attention.to_qkv(loss.attention.norm(tokens)).split(16, 2)
        heads = []
        for head in (slice(0, 8), slice(8, 16)):
            q, k = ((y + loss.attention.positions)[..., head] for y in (query, key))
            heads.append((q @ k.transpose(1, 2) / 8**0.5).softmax(2) @ value[..., head])
        regions = torch.cat(heads, 2).transpose(1, 2)
        for i in range(4):
            region = regions[..., 4 * i : 4 * i + 4].unflatten(2, (2, 2))
            expected = expected + hierarchical(loss.adapters[i](region), maps[i])
        torch.testing.assert_close(algorithm(*batch, mode='loss')['distill.loss_pat'], expected)


@pytest.mark.parametrize('teacher', NETWORKS)
@pytest.mark.parametrize('student', ['resnet', 'vit'])
def test_everything_that_trains_gets_a_gradient_in_every_step_and_the_teacher_none(distilled, batch, student, teacher):
    algorithm = distilled(student, teacher, prompted=0.1).train()
    before = copy.deepcopy(algorithm.teacher.network.state_dict())
    for _ in range(2):  # without and with a gap of the step before
        algorithm.zero_grad()
        step(algorithm, batch)
        idle = [name for name, p in algorithm.named_parameters() if p.requires_grad and p.grad is None]
        assert not idle
    assert all(p.grad is None for p in algorithm.teacher.network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in algorithm.teacher.network.state_dict().items())
    assert not any(module.training for module in algorithm.teacher.network.modules())


def test_a_prompt_is_told_of_the_gap_in_the_step_before(distilled, batch):
    algorithm = distilled('resnet', 'swin').train()
    loss = algorithm.distiller.pat
    told, shown = [], {}
    for prompt in loss.prompted_teacher.prompts:
        prompt.register_forward_pre_hook(lambda module, inputs: told.append(inputs[1]))
    for k in (2, 3, 4):
        loss.adapters[k - 1].register_forward_hook(lambda module, inputs, output, k=k: shown.update({k: output}))
    given, _ = recorded(algorithm.distiller.teacher_view, batch[0])
    step(algorithm, batch)
    assert not any(gap.any() for gap in told)
    gaps = [shown[k] - algorithm.distiller.teacher_view.to_map(given[k], k) for k in (2, 3, 4)]
    told.clear()
    step(algorithm, batch)
    for gap, expected in zip(told, gaps):
        torch.testing.assert_close(gap, expected, atol=1e-5, rtol=1e-5)
        assert not gap.requires_grad
    told.clear()
    step(algorithm, (batch[0][:2], batch[1][:2]))  # a last batch is smaller
    assert not any(gap.any() for gap in told)


def test_what_one_stage_of_the_student_saw_reaches_all_others(distilled):
    attention = distilled().distiller.pat.attention
    maps = [torch.randn(1, c, n, n) for c, n in ((16, 16), (32, 8), (64, 4), (128, 2))]
    before = attention(maps)
    maps[3] = maps[3] + 1
    assert all((x - y).abs().max() > 1e-6 for x, y in zip(before, attention(maps)))


@pytest.mark.parametrize('teacher', ['resnet', 'vit'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_networks_run_as_autocast_has_it_and_are_compared_exactly(distilled, batch, teacher, dtype):
    algorithm = distilled('resnet', teacher, prompted=0.1).train()
    loss = algorithm.distiller.pat
    given = {}
    prompt = loss.prompted_teacher.prompts[0].prompt[0]
    for name, module in dict(attention=loss.attention.to_qkv, prompt=prompt).items():
        module.register_forward_hook(lambda module, inputs, output, name=name: given.update({name: output.dtype}))
    exact = step(algorithm, batch).item()
    loss._gaps = {}
    algorithm.zero_grad()
    with torch.autocast('cpu', dtype):
        value = step(algorithm, batch)
    assert (given, value.dtype) == (dict(attention=dtype, prompt=dtype), torch.float32)
    assert value.item() == pytest.approx(exact, rel=0.05)


def test_beside_other_terms_and_with_several_teachers_in_bfloat16(batch, build_tas):
    terms = dict(kd=dict(type='mmrazor.KLDivergence'))
    distiller = dict(type='projects.pat.PATDistiller', input_size=SIZE, pat=PAT, terms=terms)
    teachers = [NETWORKS['vit'], NETWORKS['swin']]
    algorithm = build_tas(NETWORKS['resnet'], teachers, distiller=distiller, teacher_dtype='bfloat16').train()
    for _ in range(2):
        losses = algorithm(*batch, mode='loss')
        assert {f'distill.teacher{i}.loss_{name}' for i in (0, 1) for name in ('pat', 'kd')} <= losses.keys()
        total = algorithm.parse_losses(losses)[0]
        total.backward()
        assert total.isfinite()


def test_one_bad_batch_spoils_no_other(distilled, batch):
    algorithm = distilled(prompted=0.1).eval()
    bad = batch[0].clone()
    bad[0, 0, 0, 0] = torch.nan
    assert step(algorithm, (bad, batch[1])).isnan()
    assert all(step(algorithm, batch).isfinite() for _ in range(2))


def test_a_teacher_that_checkpoints_its_activations(distilled, batch):
    plain = distilled(teacher='timm_vit', prompted=0.1).eval()
    frugal = distilled(teacher='timm_vit', prompted=0.1).eval()
    frugal.load_state_dict(plain.state_dict())
    frugal.teacher.network.load_state_dict(plain.teacher.network.state_dict())
    frugal.teacher.network.model.set_grad_checkpointing()
    for algorithm in (plain, frugal):
        step(algorithm, batch)
    grads = [
        dict(each.named_parameters())['distiller.pat.prompted_teacher.prompts.0.factor'].grad
        for each in (plain, frugal)
    ]
    torch.testing.assert_close(*grads)


def test_a_copy_has_prompts_of_its_own_and_the_same_teacher(distilled, batch):
    algorithm = distilled().train()
    step(algorithm, batch)
    copied = copy.deepcopy(algorithm)
    ours, theirs = (each.distiller.pat for each in (algorithm, copied))
    assert theirs.prompted_teacher.prompts[0].factor is not ours.prompted_teacher.prompts[0].factor
    step(copied, batch)  # with its own memory of the gap
    assert theirs._gaps[2] is not ours._gaps[2]
    held = {id(p) for p in algorithm.teacher.network.parameters()}
    assert not any(id(p) in held for p in algorithm.parameters())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_queries=48), r'pat: num_queries=48. Expected four times a square'),
        (dict(num_queries=0), r'pat: num_queries=0. Expected'),
        (dict(dim=20, num_heads=8), r'pat: dim=20. Expected an even multiple of num_heads=8'),
        (dict(num_head=8), r"pat: unknown option 'num_head'. Closest names: num_heads"),
    ],
)
def test_bad_options_are_refused(build_tas, options, message):
    distiller = dict(type='projects.pat.PATDistiller', input_size=SIZE, pat=options)
    with pytest.raises(ValueError, match=f'model.distiller.{message}'):
        build_tas(NETWORKS['resnet'], NETWORKS['swin'], distiller=distiller)
