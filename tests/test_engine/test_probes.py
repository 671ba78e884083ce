"""Is it learning? Agreement with the teacher, k-NN and a linear probe, in runs with few labels or none."""

import json
from itertools import count

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmpretrain.evaluation import Accuracy  # noqa: F401  (registers the metric)

from tas_mm.engine.probes import FeatureReader, agreement, knn_accuracy, linear_accuracy, probe_roles
from tas_mm.engine.probes.agreement import learner_sides
from tas_mm.models.distillers import interface_of
from tests import networks
from tests.networks import SIZE


def headless(cfg):
    return dict(cfg, head=None)


# ---- measures -------------------------------------------------------------------------------------------------------


def clusters(number, width=16, noise=1.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(5, width, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(number) % 5
    return centers[labels] + noise * torch.randn(number, width, generator=generator), labels


def test_neighbors_vote_as_in_dino():
    train, val = clusters(200), clusters(100, seed=1)
    similarity = F.normalize(val[0], dim=1) @ F.normalize(train[0], dim=1).T
    values, indices = similarity.topk(20, dim=1)
    votes = torch.zeros(100, 5).scatter_add_(1, train[1][indices], (values / 0.07).exp())
    expected = 100 * float((votes.argmax(dim=1) == val[1]).double().mean())
    assert knn_accuracy(train, val) == pytest.approx(expected)
    assert 50 < expected < 100
    assert knn_accuracy((train[0][:5], train[1][:5]), val) > 20  # fewer than twenty


def test_a_linear_probe_does_not_depend_on_scale():
    train, val = clusters(200), clusters(100, seed=1)
    scale = torch.logspace(-3, 3, 16)
    accuracy = linear_accuracy(train, val)
    assert accuracy > 60
    assert linear_accuracy((scale * train[0], train[1]), (scale * val[0], val[1])) == pytest.approx(accuracy, abs=2)


def test_agreement_is_that_of_two_networks_whatever_their_bases():
    x, unrelated = torch.randn(200, 8), torch.randn(200, 12)
    rotated = 3 * x @ torch.linalg.qr(torch.randn(8, 8)).Q
    same, other = agreement(rotated, x, x), agreement(unrelated, x, torch.randn(200, 8))
    assert [round(value, 3) for value in same.values()] == [1.0, 100.0, 1.0, 100.0]
    assert abs(other['cka']) < 0.1
    assert other['neighbors'] < 15  # 5 % by chance
    assert abs(other['cosine']) < 0.2
    assert other['retrieval'] < 5
    assert agreement(rotated, x).keys() == {'cka', 'neighbors'}


def test_neighbors_in_common_are_counted():
    learner = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0], [0.1, 0.99]])  # pairs 0 1 and 2 3
    target = learner[[0, 2, 1, 3]]  # pairs 0 2 and 1 3
    assert agreement(learner, target, neighbors=1)['neighbors'] == 0
    assert agreement(learner, target[[0, 2, 1, 3]], neighbors=1)['neighbors'] == 100


# ---- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('student', 'teacher', 'early'),
    [
        (networks.resnet(), headless(networks.vit()), 'student'),
        (headless(networks.vit()), networks.resnet(), 'teacher'),
    ],
)
def test_features_are_those_that_the_losses_compare(build_tas, student, teacher, early):
    model = build_tas(student, teacher).eval()
    distiller, images = interface_of(model), torch.randn(4, 3, SIZE, SIZE)
    assert distiller.assistant.early_role == early
    found = FeatureReader(model)(images)
    assert list(found) == ['student', 'assistant', 'teacher'] == probe_roles(model)
    with torch.no_grad():
        taught = model.teacher.observe(images, distiller.teacher_observer)
        learned, _ = distiller.student_observer(model.architecture, images, mode='tensor')
        assistant = distiller.run_assistant(learned, taught)
    for role, known in dict(student=learned, assistant=assistant, teacher=taught).items():
        assert torch.allclose(found[role], known.feature, atol=1e-6)


def test_features_come_from_a_loss_on_logits_alone_and_from_a_student_alone(build_tas, build):
    images = torch.randn(2, 3, SIZE, SIZE)
    model = build_tas(networks.resnet(), networks.swin(), distiller=dict(type='tas_mm.TASDistiller', feature_loss=None))
    assert FeatureReader(model.eval())(images)['teacher'].shape == (2, 128)
    assert learner_sides(model.distiller) == {}
    alone = build(networks.resnet()).eval()
    assert list(FeatureReader(alone)(images)) == ['student'] == probe_roles(alone)


def test_a_cache_keeps_training_images_alone(build_tas, tmp_path):
    model = build_tas(networks.resnet(), networks.vit(), teacher_cache=str(tmp_path)).eval()
    before = FeatureReader(model)(torch.randn(2, 3, SIZE, SIZE))
    assert not [file for file in tmp_path.glob('*.data') if file.stat().st_size]
    assert before['teacher'].shape == (2, 32)
    assert model.teacher.cache is not None


def test_the_projection_of_every_feature_loss_is_found(build_tas):
    model = build_tas(networks.resnet(), headless(networks.vit()))
    losses = model.distiller.distill_losses
    sides = learner_sides(model.distiller)
    assert sides == {'student': losses['loss_ts_nce'].projection, 'assistant': losses['loss_ta_nce'].projection}
    term = dict(type='tas_mm.CosineSmoothL1Loss', reads='feature')
    pair = build_tas(networks.resnet(), networks.vit(), distiller=dict(type='tas_mm.PairDistiller', terms=dict(a=term)))
    assert learner_sides(pair.distiller)['student'] is pair.distiller.distill_losses['loss_a'].projection


# ---- runs -----------------------------------------------------------------------------------------------------------

NUMBER = count()
TEST = [
    dict(type='mmpretrain.Resize', scale=SIZE),
    dict(type='mmpretrain.PackInputs'),
]
LABELED = dict(type='tas_mm.Digits', split='train', pipeline=TEST, serialize_data=False)  # which takes a second
LOADER = dict(num_workers=0, collate_fn=dict(type='default_collate'))


@pytest.fixture
def pool(tmp_path):
    for i in range(24):
        noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        path = tmp_path / 'pool' / f'{i % 3}' / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), noise)
    return dict(
        type='mmpretrain.CustomDataset',
        data_root=str(tmp_path / 'pool'),
        with_label=False,
        serialize_data=False,
        pipeline=[dict(type='mmpretrain.LoadImageFromFile'), *TEST],
    )


def runner_of(
    folder, model, pool, val=None, epochs=2, evaluator=(), save_best='auto', load_from=None, trains=True, **val_cfg
):
    return Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader=dict(LOADER, dataset=pool, batch_size=8, sampler=dict(type='DefaultSampler', shuffle=True)),
        val_dataloader=dict(LOADER, dataset=val or pool, batch_size=8, sampler=dict(type='DefaultSampler')),
        val_cfg=dict(type='tas_mm.TASValLoop', **val_cfg),
        val_evaluator=list(evaluator),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(
            check_data=dict(type='tas_mm.CheckDataHook'),
            check_teacher=dict(type='tas_mm.CheckTeacherHook'),
            warn=dict(type='tas_mm.WarnWeakAssistantHook'),
            seed=dict(type='tas_mm.SeedHook'),
            checkpoint=dict(type='tas_mm.CheckpointHook', interval=1, save_best=save_best) if trains else None,
        ),
        custom_hooks=[
            *([dict(type='EMAHook', momentum=0.1)] if trains else []),
            dict(type='tas_mm.CatchUpValidationHook'),
        ],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        randomness=dict(seed=0),
        load_from=load_from,
        resume=load_from is not None,
        experiment_name=f'probe{next(NUMBER)}_{abs(hash(str(folder)))}',
        log_level='ERROR',
    )


def loop_of(tmp_path, model, pool, **options):
    runner = runner_of(tmp_path, model, pool, trains=False, **options)
    runner._val_loop = runner.build_val_loop(runner._val_loop)
    return runner.val_loop


def validations(folder):
    """Return what a run has logged for each validation, by epoch."""
    lines = [json.loads(line) for log in sorted(folder.glob('*/vis_data/scalars.json')) for line in log.open()]
    return {line['step']: line for line in lines if 'loss' not in line}


AGREEMENT = {'agreement/cka', 'agreement/neighbors', 'agreement/cosine', 'agreement/retrieval'}


def test_a_run_without_labels_measures_agreement_from_end_to_end(tmp_path, pool, build_tas):
    """A headless teacher and a headless student, and nothing else is said."""
    model = build_tas(headless(networks.resnet()), headless(networks.vit()))
    runner_of(tmp_path / 'run', model, pool).train()
    logged = validations(tmp_path / 'run')
    keys = AGREEMENT | {f'assistant.{name}' for name in AGREEMENT}
    assert list(logged) == [1, 2]
    assert all(keys == {key for key in line if 'agreement' in key} for line in logged.values())
    (best,) = (tmp_path / 'run').glob('best_agreement_cka_epoch_*.pth')
    scores = {epoch: line['agreement/cka'] for epoch, line in logged.items()}
    assert best.stem.endswith(str(max(scores, key=scores.get)))


def test_knn_and_linear_probe_of_all_networks_by_interval_and_the_best_by_them(tmp_path, pool, build_tas):
    probe = dict(
        train=dict(LABELED, num_labeled=40),
        val=dict(LABELED, split='test', indices=20),
        interval=2,
        kinds=('knn', 'linear'),
        k=5,
    )
    options = dict(pool=pool, save_best=['knn/top1', 'agreement/cka'], probe=probe, agreement=dict(num_images=12))
    model = build_tas(networks.resnet(), headless(networks.vit()))
    runner_of(tmp_path / 'run', model, epochs=3, **options).train()
    logged = validations(tmp_path / 'run')
    both = {'knn/top1', 'linear/top1'}
    found = {epoch: {key for key in line if key.endswith('top1')} for epoch, line in logged.items()}
    learners = both | {f'assistant.{name}' for name in both}
    assert found == {1: learners | {f'teacher.{name}' for name in both}, 2: learners, 3: set()}
    assert all(line.keys() >= AGREEMENT for line in logged.values())
    assert all(0 <= logged[2][key] <= 100 for key in found[2])
    best = [path.name for path in (tmp_path / 'run').glob('best_*.pth')]
    assert len(best) == 2
    assert any(name.startswith('best_knn_top1_epoch_') for name in best)
    resumed = build_tas(networks.resnet(), headless(networks.vit()))
    resumed.teacher.network.load_state_dict(model.teacher.network.state_dict())
    runner_of(tmp_path / 'run', resumed, epochs=4, load_from=str(tmp_path / 'run' / 'epoch_3.pth'), **options).train()
    again = validations(tmp_path / 'run')[4]
    assert {key for key in again if key.endswith('top1')} == learners
    assert again['agreement/cka'] != 0


def test_measured_are_the_averaged_weights_in_eval_mode(tmp_path, pool, build_tas):
    """Those that are saved: a probe of the saved student gives the same."""
    model = build_tas(networks.resnet(), headless(networks.vit()))
    probe = dict(train=dict(LABELED, num_labeled=60), val=dict(LABELED, split='test', indices=50), kinds='knn')
    runner = runner_of(tmp_path / 'run', model, pool, epochs=1, probe=probe)
    runner.train()
    logged = validations(tmp_path / 'run')[1]['knn/top1']
    state = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=False)['state_dict']
    model.load_state_dict(state)
    loop = runner.val_loop
    MessageHub.get_current_instance().update_info('validations', 0)
    assert loop._probe()['knn/top1'] == pytest.approx(logged)


def test_probes_stand_beside_an_evaluator(tmp_path, pool, build_tas):
    val = dict(LABELED, split='test', indices=10)
    model = build_tas(networks.resnet(), networks.vit())
    for head in (model.architecture.head, model.teacher.network.head):
        head.num_classes = 10
    evaluator = [dict(type='mmpretrain.Accuracy', topk=(1,))]
    metrics = loop_of(tmp_path, model, pool, val=val, evaluator=evaluator, agreement=True).run()
    assert next(iter(metrics)) == 'accuracy/top1'
    assert metrics.keys() >= AGREEMENT | {'teacher.accuracy/top1', 'assistant.agreement/cka'}


def test_a_copy_of_the_teacher_agrees_in_everything(tmp_path, pool, build_tas):
    model = build_tas(
        networks.vit(), networks.vit(), distiller=dict(type='tas_mm.TASDistiller', paths=dict(TA=0, AS=0))
    )
    model.teacher.network.load_state_dict(model.architecture.state_dict())
    metrics = loop_of(tmp_path, model, pool).run()
    assert {name: round(value, 3) for name, value in metrics.items()} == {
        'agreement/cka': 1.0,
        'agreement/neighbors': 100.0,
        'agreement/cosine': 1.0,
        'agreement/retrieval': 100.0,
    }


def test_several_teachers_are_told_apart(tmp_path, pool, build_tas):
    probe = dict(train=dict(LABELED, num_labeled=20), val=dict(LABELED, split='test', indices=10), kinds='knn')
    model = build_tas(networks.resnet(), [headless(networks.vit()), headless(networks.swin())])
    metrics = loop_of(tmp_path, model, pool, probe=probe).run()
    assert {f'agreement/teacher{i}.cka' for i in range(2)} < metrics.keys()
    assert {'knn/top1', 'teacher0.knn/top1', 'teacher1.knn/top1'} < metrics.keys()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(agreement=dict(images=5)), "val_cfg.agreement: unknown option 'images'. Closest names: num_images"),
        (dict(agreement=dict(num_images=3)), 'val_cfg.agreement.num_images=3. Expected a whole number of at least 4'),
        (dict(agreement=dict(interval=0)), 'val_cfg.agreement.interval=0. Expected a whole number of at least 1'),
        (dict(agreement=False), r'val_evaluator=\[\] and no val_cfg.probe: nothing would be measured'),
        (dict(probe=dict(val=LABELED)), 'val_cfg.probe has no train. Expected a labeled data set'),
        (dict(probe=dict(train=LABELED, kind='knn')), "val_cfg.probe: unknown option 'kind'. Closest names: kinds"),
        (dict(probe=dict(train=LABELED, kinds='svm')), r"val_cfg.probe.kinds=\['svm'\]. Expected one of knn, linear"),
        (dict(probe=dict(train=dict(type='tas_mm.Digits', split='all'))), 'val_cfg.probe.train: ValueError: .*"train"'),
    ],
)
def test_options_that_do_not_fit(tmp_path, pool, build_tas, options, message):
    runner = runner_of(tmp_path, build_tas(networks.resnet(), headless(networks.vit())), pool, **options)
    with pytest.raises(ValueError, match=message):
        runner.build_val_loop(runner._val_loop)


def test_labels_that_are_missing_are_named(tmp_path, pool, build_tas):
    model = build_tas(networks.resnet(), networks.vit())
    accuracy = [dict(type='mmpretrain.Accuracy', topk=(1,))]
    with pytest.raises(ValueError, match=r'^val_evaluator needs labels, .* have none. Set val_evaluator=\[\]'):
        loop_of(tmp_path, model, pool, evaluator=accuracy).run()
    with pytest.raises(ValueError, match='val_cfg.probe.val: its data set has images without labels'):
        loop_of(tmp_path, model, pool, probe=dict(train=dict(LABELED, num_labeled=20))).run()
    one = dict(train=dict(LABELED, num_labeled=1), val=dict(LABELED, indices=5))
    with pytest.raises(ValueError, match='val_cfg.probe.train: all images are of one class'):
        loop_of(tmp_path, model, pool, probe=one).run()
    student = build_tas(headless(networks.resnet()), networks.vit())
    with pytest.raises(ValueError, match='val_evaluator needs logits, but model.architecture has no head'):
        loop_of(tmp_path, student, pool, evaluator=accuracy)


def test_the_best_by_what_is_never_measured(tmp_path, pool, build_tas):
    runner = runner_of(tmp_path, build_tas(networks.resnet(), headless(networks.vit())), pool, save_best='knn/top1')
    with pytest.raises(ValueError, match="save_best='knn/top1': no validation has measured it. Expected one of agree"):
        runner.train()


def test_an_evaluator_without_metrics_is_empty():
    assert Evaluator([]).evaluate(3) == {}
