"""tools/check_config.py on a pair and for a summary, run as a user runs it; configs are in test_configs.py."""

import sys

import pytest

from tests.tools import ROOT, run_tool


def run(*args):
    return run_tool('tools/check_config.py', *args)


def test_a_good_pair():
    done = run('--pair', 'timm:test_vit', 'mmpretrain:resnet18_8xb32_in1k', '--input-size', '160', '--classes', '5')
    assert done.returncode == 0, done.stderr
    for expected in (
        'model.blocks.4',
        'backbone.layer3',
        'L2GProjector',
        '5 classes',
        'what each network sees',
        'distill.loss_as_kd',
        ': fine',
    ):
        assert expected in done.stdout


def test_an_unknown_name_names_the_nearest():
    done = run('--pair', 'timm:resnet81', 'timm:test_resnet')
    assert done.returncode == 1
    assert 'timm:resnet81' in done.stderr
    assert 'timm:resnet18' in done.stderr


@pytest.mark.parametrize('args', [(), ('configs/quickstart/tas.py', '--pair', 'timm:test_vit', 'timm:test_resnet')])
def test_either_configs_or_a_pair(args):
    done = run(*args)
    assert done.returncode == 2
    assert 'name one CONFIG or more, or a --pair TEACHER STUDENT' in done.stderr


def test_a_table_of_what_each_part_costs_and_what_trains():
    done = run('configs/quickstart/tas.py', '--summary', '--markdown')
    assert done.returncode == 0, done.stderr
    title, table = done.stdout.split('\n\n')
    assert title.endswith('configs/quickstart/tas.py, images of 32x32')
    header, _, *rows = table.splitlines()
    assert header.startswith('| network | part | whose | parameters | of them train |')
    cells = [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]
    found = {(network, part): (owner, trains) for network, part, owner, _, trains, *_ in cells}
    assert found['teacher', 'whole'] == ('own', '0')
    assert found['assistant', 'stages 1 to 3'][0] == "the student's"
    assert found['assistant', 'stage 4 and head'] == ("the teacher's", '0')
    assert ('assistant', 'projector (L2GProjector)') in found
    assert ('a training step', 'all, each once') in found


@pytest.mark.parametrize(
    ('text', 'message'), [('x = 1\n', 'own.py has no `model`'), ('x = (\n', "own.py' is no")], ids=['none', 'broken']
)
def test_a_config_without_a_network_is_an_error(tmp_path, text, message):
    (tmp_path / 'own.py').write_text(text)
    done = run(str(tmp_path / 'own.py'), '--summary')
    assert done.returncode == 1
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_model_that_is_not_a_distillation_is_an_error():
    done = run('configs/quickstart/student.py', '--summary')
    assert done.returncode == 1
    assert 'model.type=ImageClassifier. Expected a distillation from one teacher' in done.stderr


UNLABELED = """
_base_ = '{root}/configs/quickstart/student.py'
student = _base_.model
{student}
arch = dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32)
vit = dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=8)
model = dict(
    _delete_=True, type='tas_mm.TAS', architecture=student, teacher=dict(type='ImageClassifier', backbone=vit)
)
images = dict(type='CustomDataset', data_root='pool', with_label=False, pipeline=_base_.train_pipeline)
train_dataloader = dict(dataset=dict(_delete_=True, **{dataset}))
val_cfg = dict(type='tas_mm.TASValLoop')
val_evaluator = []
"""
MIXED = (
    "dict(type='ConcatDataset', datasets=[images, dict(type='tas_mm.Digits', split='train', "
    'pipeline=_base_.train_pipeline)])'
)


@pytest.mark.parametrize(
    ('student', 'dataset', 'losses'),
    [
        ('', 'images', {'distill.loss_ts_nce'}),
        ('student.head = None', 'images', {'distill.loss_ts_nce'}),
        ('', MIXED, {'distill.loss_ts_nce', 'student.loss'}),
    ],
    ids=['unlabeled', 'headless', 'mixed'],
)
def test_a_config_of_images_without_labels(tmp_path, monkeypatch, capsys, student, dataset, losses):
    """A step without labels, unless some images have them; the head of the student may then get no gradient."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import check_config

    config = tmp_path / 'own.py'
    config.write_text(UNLABELED.format(root=ROOT, student=student, dataset=dataset))
    monkeypatch.setattr(sys, 'argv', ['check_config.py', str(config)])
    assert check_config.check_configs(check_config.parse_args()) == 0
    said = capsys.readouterr().out
    assert ('images without labels, so the step goes without them' in said) == (dataset is not MIXED)
    assert 'loss_ts_kd' in said.split('left out')[1]
    rows = said.split('one step')[1]
    assert all(loss in rows for loss in losses)
    assert ('student.loss' in rows) == ('student.loss' in losses)
