"""The validation loop: intervals, keys, and hooks in pairs."""

from itertools import count

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from mmpretrain.evaluation import Accuracy  # noqa: F401  (registers the metric)

from tests import networks
from tests.networks import SIZE, samples


class Data(torch.utils.data.Dataset):
    """Eight random images."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        torch.manual_seed(i)
        return dict(inputs=torch.randn(3, SIZE, SIZE), data_samples=samples([i % 5])[0])


class Calls(Hook):
    """Counts the calls that EMA swaps weights at."""

    def __init__(self):
        self.counts = []

    def before_val_epoch(self, runner):
        self.counts.append('before')

    def after_val_epoch(self, runner, metrics=None):
        self.counts.append('after')
        self.metrics = metrics


NUMBER = count()


def loop_of(tmp_path, algorithm, hooks=(), **intervals):
    loader = dict(dataset=Data(), batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    runner = Runner(
        model=algorithm,
        work_dir=str(tmp_path),
        val_dataloader=loader,
        val_cfg=dict(type='tas_mm.TASValLoop', **intervals),
        val_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
        custom_hooks=(calls := [Calls(), *hooks]),
        default_hooks=dict(logger=None, checkpoint=None),
        experiment_name=f'val{next(NUMBER)}_{abs(hash(str(tmp_path)))}',  # runners of one name share a message hub
        log_level='ERROR',
    )
    runner._val_loop = runner.build_val_loop(runner._val_loop)
    return runner.val_loop, calls[0]


ASSISTANT, TEACHER = {'assistant.accuracy/top1'}, {'teacher.accuracy/top1'}
ROLES = {'accuracy/top1'} | ASSISTANT | TEACHER


@pytest.mark.parametrize(
    ('intervals', 'expected'),
    [
        ({}, [ROLES, ROLES - TEACHER, ROLES - TEACHER]),
        (dict(assistant_interval=2), [ROLES - ASSISTANT, ROLES - TEACHER, {'accuracy/top1'}]),
        (dict(assistant_interval=3, teacher_interval=3), [ROLES - ASSISTANT, {'accuracy/top1'}, ROLES]),
        (dict(teacher_interval=None), [ROLES - TEACHER] * 3),
        (dict(teacher_interval=1, assistant_interval=None), [ROLES - ASSISTANT] * 3),
        (dict(assistant_interval=0), [ROLES - ASSISTANT, {'accuracy/top1'}, {'accuracy/top1'}]),
    ],
)
def test_roles_by_interval_each_under_its_key(tmp_path, build_tas, intervals, expected):
    loop, calls = loop_of(tmp_path, build_tas(networks.resnet(), networks.swin()), **intervals)
    assert [set(loop.run()) for _ in range(3)] == expected
    assert calls.counts == ['before', 'after'] * 3


def test_the_students_metric_is_the_plain_loops(tmp_path, build_tas):
    algorithm = build_tas(networks.resnet(), networks.swin())
    loop, _ = loop_of(tmp_path, algorithm)
    with_all, alone = loop.run(), loop.run()
    assert with_all['accuracy/top1'] == alone['accuracy/top1']
    correct = sum(
        int(algorithm.teacher.logits(item['inputs'][None]).argmax()) == int(item['data_samples'].gt_label)
        for item in map(Data().__getitem__, range(8))
    )
    assert with_all['teacher.accuracy/top1'] == pytest.approx(100 * correct / 8)


@pytest.mark.parametrize(
    'distiller',
    [
        dict(type='tas_mm.TASDistiller', paths=dict(TA=0, AS=0), feature_loss=None),
        dict(
            type='ConfigurableDistiller',
            student_recorders=dict(fc=dict(type='ModuleOutputs', source='head.fc')),
            teacher_recorders=dict(fc=dict(type='ModuleOutputs', source='head.fc')),
        ),
    ],
)
def test_without_an_assistant_student_and_teacher_are_validated(tmp_path, build_tas, distiller):
    loop, _ = loop_of(tmp_path, build_tas(networks.resnet(), networks.swin(), distiller=distiller))
    assert set(loop.run()) == {'accuracy/top1', 'teacher.accuracy/top1'}


@pytest.mark.parametrize('name', ['feature_loss', 'logit_loss'])
def test_with_one_kind_of_loss_all_are_validated(tmp_path, build_tas, name):
    distiller = {'type': 'tas_mm.TASDistiller', name: None}
    loop, _ = loop_of(tmp_path, build_tas(networks.vit(), networks.resnet(), distiller=distiller))
    assert set(loop.run()) == ROLES


def test_a_student_alone_is_validated_under_the_same_recipe(tmp_path, build):
    loop, _ = loop_of(tmp_path, build(networks.resnet()))
    assert set(loop.run()) == {'accuracy/top1'}


@pytest.mark.parametrize('intervals', [dict(teacher_interval=-1), dict(assistant_interval=0.5)])
def test_intervals_out_of_range(tmp_path, build, intervals):
    with pytest.raises(ValueError, match=r'val_cfg.\w+_interval=.*\. Expected a whole number of at least 0, or None'):
        loop_of(tmp_path, build(networks.resnet_cifar()), **intervals)


def scores(loop):
    """Size of a validation's logits for each network, ``(images, classes)``."""
    seen, algorithm = {}, loop.runner.model
    original = algorithm.predict_roles

    def predict_roles(**kwargs):
        predicted = original(**kwargs)
        for role, samples_ in predicted.items():
            seen.setdefault(role, []).extend(sample.pred_score for sample in samples_)
        return predicted

    algorithm.predict_roles = predict_roles
    try:
        loop.run()
    finally:
        del algorithm.predict_roles
    return {role: torch.stack(each) for role, each in seen.items()}


def test_with_ema_the_averaged_weights_are_validated_and_then_put_back(tmp_path, build_tas):
    """The assistant, made of modules of the student's, is the averaged one too."""
    algorithm = build_tas(networks.resnet(), networks.swin())
    loop, _ = loop_of(tmp_path, algorithm, hooks=[ema := EMAHook()])
    averaged = scores(loop_of(tmp_path, algorithm)[0])
    ema.before_run(loop.runner)
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter))
    trained = {key: value.clone() for key, value in algorithm.state_dict().items()}
    for _ in range(2):
        seen = scores(loop)
        assert all(torch.equal(value, trained[key]) for key, value in algorithm.state_dict().items())
        assert all(torch.equal(value, averaged[role]) for role, value in seen.items())
    not_averaged = scores(loop_of(tmp_path, algorithm)[0])
    assert torch.equal(not_averaged['teacher'], averaged['teacher'])
    assert not any(torch.equal(not_averaged[role], averaged[role]) for role in ('student', 'assistant'))
