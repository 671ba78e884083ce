"""The teacher gets the right images and the right weights, in every form that people have them."""

import pytest
import timm
import torch
from mmengine.registry import MODELS, DefaultScope

from tas_mm.models.teachers import build_teacher, load_weights, normalization_for
from tests import networks
from tests.networks import SIZE, samples

RGB = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
BGR = {key: value[::-1] for key, value in RGB.items()}
TIMM = dict(type='TimmClassifier', _scope_='mmpretrain', model_name='resnet10t', num_classes=5)


def seen_by_teacher(algorithm, raw):
    """The images that reach the teacher's first convolution, for pixels as the dataset gives them."""
    got = {}
    first = next(m for m in algorithm.teacher.network.modules() if isinstance(m, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda module, inputs: got.update(x=inputs[0]))
    data = algorithm.data_preprocessor(dict(inputs=list(raw), data_samples=samples([0, 1])), True)
    algorithm.teacher.logits(data['inputs'])
    return got['x']


def normalized(raw, statistics, flip):
    mean, std = (torch.tensor(statistics[key]).view(3, 1, 1) for key in ('mean', 'std'))
    return ((raw.flip(1) if flip else raw).float() - mean) / std


@pytest.mark.parametrize(
    ('student', 'teacher', 'wanted'),
    [
        # The dataset is BGR where a preprocessor turns it around: files, as MMPretrain reads them.
        (dict(RGB, to_rgb=True), TIMM, (RGB, True)),
        (dict(RGB, to_rgb=True), dict(TIMM, data_preprocessor=RGB), (RGB, True)),
        (dict(RGB, to_rgb=True), dict(networks.swin(), data_preprocessor=dict(RGB, to_rgb=True)), (RGB, True)),
        (dict(RGB, to_rgb=True), dict(networks.swin(), data_preprocessor=dict(BGR, to_rgb=False)), (BGR, False)),
        (dict(BGR, to_rgb=False), TIMM, (RGB, True)),
        (dict(BGR, to_rgb=False), dict(TIMM, data_preprocessor=dict(RGB, to_rgb=True)), (RGB, True)),
        (dict(BGR, to_rgb=False), dict(networks.swin(), data_preprocessor=dict(RGB, to_rgb=True)), (RGB, True)),
        (dict(BGR, to_rgb=False), networks.swin(), (BGR, False)),
        # A dataset of RGB, such as CIFAR's: no preprocessor turns it around.
        (dict(RGB, to_rgb=False), TIMM, (RGB, False)),
        (dict(RGB, to_rgb=False), dict(TIMM, data_preprocessor=dict(RGB, to_rgb=False)), (RGB, False)),
    ],
)
def test_the_teacher_sees_its_own_order_mean_and_std(build_tas, student, teacher, wanted):
    algorithm = build_tas(dict(networks.resnet(), data_preprocessor=student), teacher)
    raw = torch.randint(0, 255, (2, 3, SIZE, SIZE)).to(torch.uint8)
    torch.testing.assert_close(seen_by_teacher(algorithm, raw), normalized(raw, *wanted), rtol=1e-4, atol=1e-4)


def test_an_order_that_cannot_be_known_is_an_error_that_names_the_key(build_tas):
    student = dict(networks.resnet(), data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3))
    with pytest.raises(ValueError, match=r'model.teacher needs RGB, but data_preprocessor.to_rgb=False keeps'):
        build_tas(student, TIMM)
    build_tas(student, dict(TIMM, data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3)))


def test_gray_images_have_no_order(build, build_tas):
    gray = dict(networks.resnet(), data_preprocessor=dict(mean=[78.0] * 3, std=[95.7] * 3))  # in three equal channels
    assert not build_tas(gray, TIMM).teacher.flip
    student = build(dict(networks.resnet(in_channels=1), data_preprocessor=dict(mean=[100.0], std=[50.0])))
    assert normalization_for(student.data_preprocessor, build(dict(TIMM, in_chans=1))).flip is False


# ---- weights ---------------------------------------------------------------------------------------------------------


def save(value, tmp_path):
    torch.save(value, tmp_path / 'teacher.pth')
    return str(tmp_path / 'teacher.pth')


def moved(state, by=1.0):
    return {name: value + by if value.is_floating_point() else value for name, value in state.items()}


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


FORMS = dict(
    bare=lambda state: state,
    mmengine=lambda state: dict(state_dict=state, meta=dict(epoch=3), optimizer=dict(state={})),
    mmengine_with_ema=lambda state: dict(state_dict=state, ema_state_dict=prefixed(moved(state), 'module.')),
    ddp=lambda state: prefixed(state, 'module.'),
    compiled=lambda state: prefixed(state, '_orig_mod.'),
    compiled_inside=lambda state: {name.replace('.', '._orig_mod.', 1): value for name, value in state.items()},
    compiled_ddp=lambda state: dict(state_dict=prefixed(state, 'module._orig_mod.')),
    nested=lambda state: dict(checkpoint=dict(model=dict(state_dict=state)), epoch=3),
    lightning=lambda state: dict(state_dict=prefixed(state, 'net.')),
    distillation=lambda state: dict(state_dict=prefixed(state, 'architecture.') | prefixed(moved(state), 'teacher.')),
)


@pytest.mark.parametrize('form', FORMS)
def test_a_file_of_weights_loads_as_people_have_it(build, tmp_path, form):
    state = build(networks.swin()).state_dict()
    teacher = build_teacher(networks.swin() | dict(_scope_='mmpretrain'), save(FORMS[form](state), tmp_path))
    assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize('averaged', ['state_dict_ema', 'model_ema'])
def test_of_raw_and_averaged_weights_timms_file_gives_the_averaged_as_timm_does(build, tmp_path, averaged):
    state = timm.create_model('resnet10t', num_classes=5).state_dict()
    path = save({'state_dict': moved(state), averaged: prefixed(state, 'module.')}, tmp_path)
    own = timm.create_model('resnet10t', num_classes=5, checkpoint_path=path).state_dict()
    for teacher in (TIMM, timm.create_model('resnet10t', num_classes=5)):
        network = build_teacher(teacher, path).model
        assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


def test_a_file_with_two_networks_that_suit_is_an_error_that_names_both(build, tmp_path):
    state = build(networks.swin()).state_dict()
    path = save(dict(student=state, teacher=moved(state)), tmp_path)
    with pytest.raises(ValueError, match=r'model.teacher_ckpt=.*has several sets of weights.*: student, teacher\.'):
        load_weights(build(networks.swin()), path)


def test_a_file_without_weights_says_what_it_holds(build, tmp_path):
    with pytest.raises(ValueError, match='cannot be read as a checkpoint.*it has no weights. Got epoch, loss'):
        load_weights(build(networks.swin()), save(dict(epoch=3, loss=0.1), tmp_path))


@pytest.mark.parametrize('form', ['timm', 'init_cfg with a prefix', 'init_cfg of other classes'])
def test_a_trained_backbone_with_a_new_head_is_announced_loudly(build, tmp_path, logged, form):
    other = networks.resnet()
    other['head']['num_classes'] = 7
    path = save(dict(state_dict=build(other).state_dict()), tmp_path)
    pretrained = dict(type='Pretrained', checkpoint=path)
    if form == 'timm':
        torch.save(timm.create_model('resnet10t', num_classes=1000).state_dict(), path)
        teacher = dict(TIMM, pretrained=True, pretrained_cfg_overlay=dict(file=path, num_classes=1000))
    elif form == 'init_cfg with a prefix':
        teacher = dict(networks.resnet(), _scope_='mmpretrain')
        teacher['backbone'] = dict(teacher['backbone'], init_cfg=dict(pretrained, prefix='backbone'))
    else:
        teacher = dict(networks.resnet(), _scope_='mmpretrain', init_cfg=pretrained)
    build_teacher(teacher)
    assert 'THE TEACHER HAS RANDOM WEIGHTS' in logged.text
    assert "such as 'model.fc" in logged.text or "such as 'head.fc" in logged.text


def test_a_teacher_that_loads_all_of_its_weights_is_not_suspected(build, tmp_path, logged):
    path = save(dict(state_dict=build(networks.swin()).state_dict()), tmp_path)
    config = dict(networks.swin(), _scope_='mmpretrain', init_cfg=dict(type='Pretrained', checkpoint=path))
    state = torch.random.get_rng_state()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        MODELS.build({key: value for key, value in config.items() if key != '_scope_'}).init_weights()
    wanted = torch.random.get_rng_state()
    torch.random.set_rng_state(state)
    build_teacher(config)
    assert 'RANDOM' not in logged.text
    assert torch.equal(torch.random.get_rng_state(), wanted), 'a look at the weights draws no random numbers'


# ---- heads -----------------------------------------------------------------------------------------------------------


def test_what_is_distilled_of_a_head_with_a_margin_is_what_it_predicts(build_tas, batch):
    """ArcFace adds a margin to the score of the label while it trains."""
    student = networks.resnet()
    student['head'] = dict(type='ArcFaceClsHead', num_classes=5, in_channels=student['head']['in_channels'])
    algorithm = build_tas(student, networks.swin()).eval()
    seen, _ = algorithm.distiller.student_observer(algorithm.student, *batch, mode='loss')
    torch.testing.assert_close(seen.logits, algorithm.student(batch[0], mode='tensor'))
