"""Several teachers at once: what each adds, what is saved, and what does not fit."""

import copy

import pytest
import torch

from tests import networks
from tests.networks import SIZE, samples


def teachers(build, count=2):
    return [build(networks.swin()) for _ in range(count)]


def copied(algorithm, several, number):
    """Give the distiller of one teacher among several the weights of a single one's."""
    several.student.load_state_dict(algorithm.student.state_dict())
    several.distiller.distillers[number].load_state_dict(algorithm.distiller.state_dict())


def test_two_copies_of_a_teacher_with_half_a_weight_each_teach_what_it_teaches_alone(build, build_tas, batch):
    """Same assistant weights: the losses are halves, and their sum and the student's gradients the same."""
    teacher = build(networks.swin())
    one = build_tas(networks.resnet(), teacher)
    two = build_tas(networks.resnet(), [teacher, copy.deepcopy(teacher)])
    for i in range(2):
        copied(one, two, i)
    losses, halves = (model(*batch, mode='loss') for model in (one, two))
    assert len(halves) == 1 + 2 * (len(losses) - 1)
    for name, value in losses.items():
        for i in range(2) if name.startswith('distill.') else ():
            half = halves[name.replace('distill.', f'distill.teacher{i}.')]
            torch.testing.assert_close(half, value / 2)
    for model, found in ((one, losses), (two, halves)):
        model.parse_losses(found)[0].backward()
    torch.testing.assert_close(two.parse_losses(halves)[0], one.parse_losses(losses)[0])
    for a, b in zip(one.student.parameters(), two.student.parameters()):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)


def test_weights_count(build, build_tas, batch):
    two = build_tas(networks.resnet(), teachers(build), teacher_weights=[2, 0.5])
    weighted = two(*batch, mode='loss')
    two.distiller.weights = [1, 1]
    plain = two(*batch, mode='loss')
    for name, value in plain.items():
        factor = 2 if 'teacher0' in name else 0.5 if 'teacher1' in name else 1
        torch.testing.assert_close(weighted[name], factor * value)


def test_teachers_of_several_kinds_each_with_an_assistant_and_a_distiller_of_its_own(build_tas, batch):
    kd = dict(type='tas_mm.PairDistiller', terms=dict(kd=dict(type='KLDivergence')))
    tas = dict(type='tas_mm.TASDistiller', input_size=SIZE)
    algorithm = build_tas(networks.vit(), [networks.resnet(), networks.mixer()], distiller=[tas, kd])
    losses = algorithm(*batch, mode='loss')
    assert {name.split('.')[1] for name in losses if 'distill' in name} == {'teacher0', 'teacher1'}
    assert [name for name in losses if 'teacher1' in name] == ['distill.teacher1.loss_kd']
    assert algorithm.distiller.distillers[0].assistant.early_role == 'teacher'
    algorithm.parse_losses(losses)[0].backward()
    assert [n for n, p in algorithm.named_parameters() if p.requires_grad and p.grad is None] == []


def test_each_distiller_gets_what_it_asked_for(build, build_tas, batch):
    """Their assistants start from different stages."""
    taught, options = (
        teachers(build),
        [dict(type='tas_mm.TASDistiller', assistant=dict(early_stages=i)) for i in (1, 3)],
    )
    two = build_tas(networks.resnet(), taught, distiller=options, teacher_weights=[1, 1]).eval()
    losses = two(*batch, mode='loss')
    for i in range(2):
        one = build_tas(networks.resnet(), taught[i], distiller=options[i]).eval()
        one.student.load_state_dict(two.student.state_dict())
        one.distiller.load_state_dict(two.distiller.distillers[i].state_dict())
        for name, value in one(*batch, mode='loss').items():
            torch.testing.assert_close(losses[name.replace('distill.', f'distill.teacher{i}.')], value)


def test_all_teachers_are_frozen_in_eval_mode_and_outside_of_everything(build, build_tas, batch):
    algorithm = build_tas(networks.resnet(), teachers(build)).train()
    parameters = [p for network in algorithm.teacher.networks for p in network.parameters()]
    assert not any(module.training for network in algorithm.teacher.networks for module in network.modules())
    assert not any(p.requires_grad for p in parameters)
    assert {key.split('.')[0] for key in algorithm.state_dict()} == {'architecture', 'distiller'}
    assert not {id(p) for p in parameters} & {id(p) for p in algorithm.parameters()}
    losses = algorithm.eval()(*batch, mode='loss')
    copied = copy.deepcopy(algorithm)(*batch, mode='loss')  # as EMA makes one
    assert all(torch.equal(value, copied[name]) for name, value in losses.items())


def test_each_teacher_sees_the_image_normalized_its_way(build_tas):
    """In training and in validation, and whatever the teachers before it wanted."""
    student = dict(networks.resnet(), data_preprocessor=dict(mean=[100.0] * 3, std=[50.0] * 3))
    own = [dict(mean=[60.0] * 3, std=[30.0] * 3), dict(mean=[20.0] * 3, std=[10.0] * 3)]
    teachers = [dict(networks.swin(), data_preprocessor=preprocessor) for preprocessor in own]
    algorithm = build_tas(student, [*teachers, networks.swin()])
    seen = []
    for teacher in algorithm.teacher.networks:
        teacher.backbone.patch_embed.projection.register_forward_hook(lambda m, i, o: seen.append(i[0].mean().item()))
    data = dict(inputs=torch.full((2, 3, SIZE, SIZE), 120), data_samples=samples([0, 1]))
    data = algorithm.data_preprocessor(data)
    algorithm.teacher.logits(data['inputs'])
    algorithm(**data, mode='loss')
    assert seen == pytest.approx([2.0, 10.0, 0.4] * 2, abs=1e-5)


def test_together_they_predict_the_mean_of_their_probabilities(build, build_tas, batch):
    algorithm = build_tas(networks.resnet(), teachers(build), teacher_weights=[3, 1])
    a, b = (teacher(batch[0], mode='tensor').softmax(1) for teacher in algorithm.teacher.networks)
    predicted = algorithm.predict_roles(*batch, roles=['student', 'teacher'])['teacher']
    torch.testing.assert_close(torch.stack([p.pred_score for p in predicted]), 0.75 * a + 0.25 * b)


def test_checkpoints_of_one_teacher_each(build, build_tas, tmp_path):
    wanted = teachers(build)
    files = [str(tmp_path / f'{i}.pth') for i in range(2)]
    for teacher, file in zip(wanted, files):
        torch.save(teacher.state_dict(), file)
    algorithm = build_tas(networks.resnet(), [networks.swin(), networks.swin()], teacher_ckpt=files)
    for teacher, loaded in zip(wanted, algorithm.teacher.networks):
        assert torch.equal(teacher.head.fc.weight, loaded.head.fc.weight)


KD = dict(type='tas_mm.PairDistiller', terms=dict(kd=dict(type='KLDivergence')))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(teacher_ckpt=['a.pth']),
            r"model.teacher_ckpt=\['a.pth'\], but model.teacher has 2. Expected a list of 2",
        ),
        (dict(teacher_ckpt='a.pth'), r"model.teacher_ckpt='a.pth', but model.teacher has 2. Expected a list of 2"),
        (dict(teacher_weights=[1, 2, 3]), r'model.teacher_weights=\[1, 2, 3\], but model.teacher has 2'),
        (dict(teacher_weights=[1, -1]), r'model.teacher_weights=\[1, -1\]. Expected numbers of at least 0'),
        (dict(distiller=[KD]), r'model.distiller is a list of 1, but model.teacher has 2. Give one distiller for each'),
        (
            dict(teacher=networks.swin(), teacher_weights=[1]),
            r'model.teacher_weights=\[1\] is a list, but model.teacher',
        ),
        (dict(teacher=networks.swin(), distiller=[KD]), r'model.distiller is a list, but model.teacher is one teacher'),
    ],
)
def test_lists_that_do_not_fit(build_tas, options, message):
    options = dict(dict(teacher=[networks.swin(), networks.swin()]), **options)
    with pytest.raises(ValueError, match=message):
        build_tas(networks.resnet(), **options)


def test_an_error_says_which_teacher(build_tas):
    wrong = networks.swin()
    wrong['head']['num_classes'] = 7
    with pytest.raises(ValueError, match=r'model.teacher has num_classes=7 .* \(number 1 of model.teacher\)'):
        build_tas(networks.resnet(), [networks.swin(), wrong])
