"""The cache of the teacher's outputs: found again by the image, and rejected if it would be wrong."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from tas_mm.analysis import trial
from tas_mm.models.teachers.cache import TeacherCache, image_keys
from tests import networks
from tests.networks import SIZE, samples

KD = dict(type='tas_mm.PairDistiller', terms=dict(kd=dict(type='KLDivergence', tau=4)))


def runs(algorithm):
    """Count the teacher's own passes: the assistant uses its last stage alone."""
    seen = []
    algorithm.teacher.network.backbone.patch_embed.register_forward_hook(lambda *args: seen.append(1))
    return seen


@pytest.mark.parametrize('distiller', [None, KD], ids=['TAS', 'KD'])
def test_a_second_student_learns_the_same_without_running_the_teacher(build, build_tas, batch, tmp_path, distiller):
    teacher, cache = build(networks.swin()), str(tmp_path / 'cache')
    first = build_tas(networks.resnet(), teacher, teacher_cache=cache, distiller=distiller)
    count, losses = runs(first), first(*batch, mode='loss')
    assert len(count) == 1
    second = build_tas(networks.resnet(), teacher, teacher_cache=cache, distiller=distiller)
    second.load_state_dict(first.state_dict())
    count = runs(second)
    order = torch.tensor([2, 0, 3, 1])  # found by the image, wherever it comes
    found = second(batch[0][order], [batch[1][i] for i in order], mode='loss')
    assert not count
    assert second.teacher.cache.hits == 1
    torch.testing.assert_close(found, losses, rtol=5e-3, atol=5e-3)
    second.parse_losses(found)[0].backward()
    assert [n for n, p in second.named_parameters() if p.requires_grad and p.grad is None] == []


def test_an_image_that_is_not_known_is_run_and_kept(build, build_tas, batch, tmp_path):
    """Another crop, or a pixel that differs in its last bit, is another image."""
    teacher, cache = build(networks.swin()), str(tmp_path / 'cache')
    build_tas(networks.resnet(), teacher, teacher_cache=cache)(*batch, mode='loss')
    other = batch[0].clone()
    other[3, 0, 0, 0] = torch.nextafter(other[3, 0, 0, 0], torch.tensor(9.0))
    for expected in (1, 0):
        algorithm = build_tas(networks.resnet(), teacher, teacher_cache=cache)
        count = runs(algorithm)
        algorithm(other, batch[1], mode='loss')
        assert len(count) == expected


def test_keys_tell_images_apart_and_are_integers_of_no_order():
    images = torch.rand(64, 3, 32, 32)
    keys = image_keys(images)
    assert len(np.unique(keys)) == 64
    swapped = images.clone()
    swapped[0, 0, 0, 0], swapped[0, 0, 0, 1] = images[0, 0, 0, 1], images[0, 0, 0, 0]
    assert image_keys(swapped)[0] != keys[0]
    assert (image_keys(images[7:9]) == keys[7:9]).all()


def test_the_largest_logits_are_exact_and_the_rest_share_what_is_left(tmp_path):
    logits = torch.tensor([[4.0, 1.0, 0.0, 3.0, -1.0], [0.0, 0.0, 5.0, 1.0, 2.0]])
    images, feature = torch.rand(2, 3, 8, 8), torch.randn(2, 6)
    options = dict(path=str(tmp_path), teacher=dict(teacher='x'), feature_dim=6, num_classes=5, topk=2)
    TeacherCache(**options).keep(images, feature, logits)
    known = TeacherCache(**options).find(images)
    torch.testing.assert_close(known['feature'], feature, atol=2e-3, rtol=1e-3)
    wanted = logits.softmax(1)
    for row, kept in enumerate(([0, 3], [2, 4])):
        others = [i for i in range(5) if i not in kept]
        wanted[row, others] = wanted[row, others].mean()
    torch.testing.assert_close(known['logits'].softmax(1), wanted, atol=2e-3, rtol=2e-3)


def test_a_cache_of_other_images_says_that_it_does_not_help(tmp_path, logged):
    options = dict(path=str(tmp_path), teacher=dict(teacher='x'), feature_dim=6, num_classes=5)
    images = torch.rand(40, 3, 8, 8)
    TeacherCache(**options).keep(images, torch.randn(40, 6), torch.randn(40, 5))
    known, strange = TeacherCache(**options), TeacherCache(**options)
    for i in range(20):
        assert known.find(images[2 * i : 2 * i + 2]) is not None
        assert strange.find(torch.rand(2, 3, 8, 8)) is None
    assert logged.text.count('has none of the first 10 batches') == 1


def test_what_a_killed_run_wrote_by_half_is_cut_off(tmp_path):
    options = dict(path=str(tmp_path), teacher=dict(teacher='x'), feature_dim=6, num_classes=5)
    images = torch.rand(4, 3, 8, 8)
    cache = TeacherCache(**options)
    cache.keep(images[:2], torch.randn(2, 6), torch.randn(2, 5))
    with open(next(tmp_path.glob('*.data')), 'ab') as file:
        file.write(b'half')
    cache = TeacherCache(**options)
    cache.keep(images[2:], torch.ones(2, 6), torch.randn(2, 5))
    again = TeacherCache(**options)
    assert again.find(images[:2]) is not None
    torch.testing.assert_close(again.find(images[2:])['feature'], torch.ones(2, 6))


def test_two_runs_may_fill_one_folder_at_once(tmp_path):
    options = dict(path=str(tmp_path), teacher=dict(teacher='x'), feature_dim=2, num_classes=3)
    images = torch.rand(4, 3, 8, 8)
    first, second = TeacherCache(**options), TeacherCache(**options)
    for i, cache in enumerate((first, second, second, first)):
        cache.keep(images[i : i + 1], torch.full((1, 2), float(i)), torch.tensor([[5.0, 1.0, 0.0]]))
    known = TeacherCache(**options).find(images)
    assert known['feature'][:, 0].tolist() == [0, 1, 2, 3]
    assert known['logits'][0].tolist() == [5, 1, 0], 'raw logits: not every loss is blind to a shift'


def test_tools_leave_the_cache_alone(build_tas, tmp_path):
    """They build with random weights, which are another teacher's."""
    config = Config(dict(model=dict(type='tas_mm.TAS', architecture=networks.resnet(), teacher=networks.swin())))
    config.model.teacher_cache = str(tmp_path / 'cache')
    trial.build_model(config)
    assert not (tmp_path / 'cache').exists()


def test_the_cache_of_another_teacher_is_refused(build, build_tas, batch, tmp_path):
    build_tas(networks.resnet(), build(networks.swin()), teacher_cache=str(tmp_path))
    with pytest.raises(ValueError, match=r'model.teacher_cache.path=.* was made with teacher=.* Name another folder'):
        build_tas(networks.resnet(), build(networks.swin()), teacher_cache=str(tmp_path))


RGB = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.mark.parametrize(
    ('preprocessor', 'options', 'key'),
    [
        (dict(mean=[60.0] * 3, std=[30.0] * 3), {}, 'normalization'),
        (dict(mean=RGB['mean'][::-1], std=RGB['std'][::-1], to_rgb=True), {}, 'normalization'),
        (RGB, dict(teacher_dtype='bfloat16'), '(teacher|dtype)'),
    ],
    ids=['mean and std', 'order', 'dtype'],
)
def test_the_cache_of_the_same_weights_is_refused_where_they_see_or_compute_otherwise(
    build, build_tas, tmp_path, preprocessor, options, key
):
    first = build(dict(networks.swin(), data_preprocessor=RGB))
    other = build(dict(networks.swin(), data_preprocessor=preprocessor))
    other.load_state_dict(first.state_dict())
    student = dict(networks.resnet(), data_preprocessor=RGB)
    for _ in range(2):
        build_tas(student, first, teacher_cache=str(tmp_path))
    with pytest.raises(ValueError, match=rf'model.teacher_cache.path=.* was made with {key}=.* Name another folder'):
        build_tas(student, other, teacher_cache=str(tmp_path), **options)


@pytest.mark.parametrize(
    ('student', 'teacher', 'options', 'message'),
    [
        (networks.vit, networks.resnet(), {}, r'model.teacher_cache stores feature and logits.*reads stage3'),
        (networks.resnet, [networks.swin()] * 2, {}, r'model.teacher_cache .* reads .*\. Use a distiller'),
        (networks.resnet, networks.swin(), dict(topk=6), r'model.teacher_cache.topk=6. Expected 1 to 5'),
        (
            networks.resnet,
            networks.swin(),
            dict(top=6),
            r"model.teacher_cache: unknown option 'top'. Closest names: topk",
        ),
    ],
)
def test_what_cannot_be_cached(build_tas, tmp_path, student, teacher, options, message):
    with pytest.raises(ValueError, match=message):
        build_tas(student(), teacher, teacher_cache=dict(path=str(tmp_path), **options))


def test_mixed_images_are_found_too(build, build_tas, tmp_path):
    """With the seed of the step, as SeedHook sets it, the mixture is the same."""
    student = dict(networks.resnet(), train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)))
    student['data_preprocessor'] = dict(mean=[9.0] * 3, std=[2.0] * 3, num_classes=5)
    teacher, data = build(networks.swin()), torch.randint(0, 256, (4, 3, SIZE, SIZE))
    for expected in (1, 0):
        algorithm = build_tas(student, teacher, teacher_cache=str(tmp_path))
        count = runs(algorithm)
        torch.manual_seed(1)
        np.random.seed(1)
        batch = algorithm.data_preprocessor(dict(inputs=data, data_samples=samples([0, 1, 2, 3])), training=True)
        algorithm(**batch, mode='loss')
        assert len(count) == expected
