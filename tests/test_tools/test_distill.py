"""tools/distill.py on a folder of images, and tools/visualize.py on what it leaves behind."""

import json
import re
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from sklearn.datasets import load_sample_images

from tas_mm.analysis.logs import read_run
from tas_mm.analysis.reports import report_accuracy
from tests.test_recipes.test_data import NAMES, write_folder

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
PAIR = ('--teacher', 'timm:test_vit', '--student', 'timm:test_resnet', '--size', '32', '--workers', '0')


def refusal(options: list[str]) -> str:
    """Return the error of tools/distill.py."""
    import distill

    with pytest.raises(SystemExit) as refused:
        distill.main(options)
    return refused.value.code


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A whole run, with weights of a teacher that knows five classes; the folder, and what was printed."""
    import contextlib
    import io

    import distill

    from tas_mm.recipes.sources import build_classifier

    folder = tmp_path_factory.mktemp('run')
    write_folder(folder / 'photos')
    torch.manual_seed(0)
    torch.save(build_classifier('timm:test_vit', 5, img_size=32).state_dict(), folder / 'teacher.pth')
    options = ('--data', folder / 'photos', '--teacher-ckpt', folder / 'teacher.pth', '--work-dir', folder)
    numbers = ('--epochs', '2', '--teacher-epochs', '1', '--batch-size', '8', '--baseline')
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        distill.main([*PAIR, *map(str, options), *numbers])
    return folder, printed.getvalue()


def test_a_teacher_of_other_classes_gets_a_new_head_only(run):
    folder, _ = run
    start = torch.load(folder / 'teacher.pth')
    end = torch.load(folder / 'teacher' / 'epoch_1.pth', weights_only=False)['state_dict']
    assert end.keys() == start.keys()
    assert {name for name in start if not torch.equal(start[name], end[name])} == {'head.weight', 'head.bias'}
    assert end['head.weight'].shape[0] == len(NAMES)


def test_the_written_config_gives_the_same_under_train_py(run, tmp_path, monkeypatch):
    import runpy

    folder, _ = run
    monkeypatch.setattr(sys, 'argv', ['train.py', str(folder / 'distill.py'), '--work-dir', str(tmp_path)])
    runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
    ours, same = (
        torch.load(path / 'epoch_2.pth', weights_only=False)['state_dict'] for path in (folder / 'distill', tmp_path)
    )
    assert ours.keys() == same.keys()
    assert all(torch.equal(ours[name], same[name]) for name in ours)
    assert '_base_' not in (folder / 'distill.py').read_text()


def test_the_exported_student_is_a_plain_classifier(run):
    folder, printed = run
    config = Config.fromfile(folder / 'distill.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        student = MODELS.build(config.student)
    student.load_state_dict(torch.load(folder / 'student.pth')['state_dict'])
    table = dict(line.rsplit(maxsplit=2)[:2] for line in printed.partition('best epoch\n')[2].splitlines()[:3])
    assert f'exported to {folder}/student.pth  {table["  student"]}' in printed
    assert (folder / 'curves.png').stat().st_size > 10_000


def test_the_student_alone_is_trained_by_the_same_recipe_and_stands_beside(run):
    folder, printed = run
    alone, distilled = (Config.fromfile(folder / name) for name in ('alone.py', 'distill.py'))
    differ = {key for key in {*alone, *distilled} if alone.get(key) != distilled.get(key)}
    assert differ == {'model', 'student', 'teacher', 'work_dir'}
    assert alone.model == distilled.student
    state = torch.load(folder / 'alone' / 'epoch_2.pth', weights_only=False)['state_dict']
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        MODELS.build(alone.model).load_state_dict(state)
    accuracy = read_run(folder / 'alone').last('accuracy/top1')
    assert re.search(rf'student trained alone +{accuracy:.2f} ', printed)


@pytest.mark.long
def test_an_interrupted_run_goes_on(tmp_path, capsys, monkeypatch):
    import distill
    from mmengine.runner import EpochBasedTrainLoop

    write_folder(tmp_path / 'photos')
    options = [*PAIR, '--data', str(tmp_path / 'photos'), '--offline', '--work-dir', str(tmp_path / 'run')]
    options += ['--batch-size', '8', '--teacher-epochs', '1', '--epochs', '2']
    run_epoch = EpochBasedTrainLoop.run_epoch
    trained = []

    def watched(loop):
        trained.append(Path(loop.runner.work_dir).name)
        if trained == ['teacher', 'distill', 'distill']:
            raise KeyboardInterrupt
        run_epoch(loop)

    monkeypatch.setattr(EpochBasedTrainLoop, 'run_epoch', watched)
    with pytest.raises(KeyboardInterrupt):
        distill.main(options)
    teacher = (tmp_path / 'run' / 'teacher' / 'epoch_1.pth').read_bytes()
    capsys.readouterr()
    said = refusal([*options, '--resume', '--seed', '1'])
    assert '--resume: ' in said
    assert "teacher.py has 'randomness = dict(seed=0)', but these options give 'randomness = dict(seed=1)'" in said
    distill.main([*options, '--resume'])
    assert trained == ['teacher', 'distill', 'distill', 'distill']
    assert (tmp_path / 'run' / 'teacher' / 'epoch_1.pth').read_bytes() == teacher
    assert 'student, exported to' in capsys.readouterr().out
    assert read_run(tmp_path / 'run' / 'distill').curve('accuracy/top1')[0] == [1, 2]
    assert (tmp_path / 'run' / 'curves.png').is_file()


def test_the_table_shows_the_last_epoch_beside_the_best(tmp_path):
    for name, best in (('distill', 60), ('alone', 45)):
        log = tmp_path / name / '20260101_100000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        roles = {'': 0, 'assistant.': 1, 'teacher.': 2} if name == 'distill' else {'': 0}
        values = ((1, best - 20), (9, best), (10, best - 10))
        lines = [{f'{role}accuracy/top1': value + n for role, n in roles.items()} | dict(step=s) for s, value in values]
        log.write_text('\n'.join(map(json.dumps, lines)))
    text = report_accuracy(tmp_path, 50.0, alone=True)
    rows = [line.rsplit(maxsplit=2) for line in text.splitlines() if line.startswith('  ')]
    assert rows[1:5] == [
        ['  teacher', '52.00', '62.00'],
        ['  assistant', '51.00', '61.00'],
        ['  student', '50.00', '60.00'],
        ['  student trained alone', '35.00', '45.00'],
    ]


def test_random_weights_are_said_loudly(tmp_path, capsys):
    import distill

    write_folder(tmp_path / 'photos')
    options = ('--data', str(tmp_path / 'photos'), '--offline', '--dry-run', '--work-dir', str(tmp_path / 'run'))
    distill.main([*PAIR, *options, '--epochs', '4'])
    printed = capsys.readouterr().out
    assert 'THE TEACHER STARTS WITH RANDOM WEIGHTS: --offline was given' in printed
    config = Config.fromfile(tmp_path / 'run' / 'teacher.py')  # all of it trains, as long as the student
    assert config.train_cfg.max_epochs == 4
    assert 'lr_mult' not in str(config.optim_wrapper)
    assert not (tmp_path / 'run' / 'teacher').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--device', 'gpu'), '--device gpu: expected cpu, cuda or cuda:N'),
        (('--data', 'CIFAR10O'), '--data CIFAR10O: neither a folder'),
        (
            ('--data', 'tas_mm.Digits', '--offline', '--teacher-epochs', '0'),
            '--teacher-epochs 0: a teacher with random',
        ),
    ],
)
def test_errors_name_the_option(options, message, tmp_path):
    assert message in refusal([*PAIR, '--data', 'tas_mm.Digits', '--work-dir', str(tmp_path), *options])


def test_configs_and_folders_that_cannot_be_used(tmp_path):
    (tmp_path / 'none.py').write_text('x = 1\n')
    (tmp_path / 'broken.py').write_text('x = 1\nmodel = dict(\n')
    (tmp_path / 'lost.py').write_text("_base_ = 'nowhere.py'\n")
    (tmp_path / 'file').write_text('')
    options = ['--data', 'tas_mm.Digits', '--student', 'timm:test_resnet', '--work-dir', str(tmp_path / 'run')]
    for name, message in (('none', 'has no `model`'), ('broken', 'is not Python: '), ('lost', 'nowhere.py')):
        said = refusal([*options, '--teacher', str(tmp_path / f'{name}.py')])
        assert f'--teacher {tmp_path}/{name}.py: ' in said
        assert message in said
    said = refusal([*options, '--teacher', 'timm:test_vit', '--work-dir', str(tmp_path / 'file' / 'run')])
    assert f'--work-dir {tmp_path}/file/run: Not a directory. Expected a folder' in said


def test_pictures_of_the_run(run, tmp_path, capsys):
    import visualize

    folder, _ = run
    named = [str(folder / 'distill.py'), str(folder / 'distill' / 'epoch_2.pth')]
    cv2.imwrite(str(tmp_path / 'flower.png'), load_sample_images().images[1][..., ::-1])
    out = ['--out', str(tmp_path / 'out'), '--backend', 'local']
    assert visualize.main(['cka', *named, '--images', '12', '--batch-size', '6', *out]) == 0
    assert visualize.main(['features', *named, str(tmp_path / 'flower.png'), *out]) == 0
    assert visualize.main(['curves', str(folder / 'distill'), str(folder / 'teacher'), *out]) == 0
    assert visualize.main(['assistants', named[0], *out]) == 0
    for name in ('cka', 'features_flower', 'curves', 'assistants'):
        image = cv2.imread(str(tmp_path / 'out' / f'{name}.png'))
        assert image.std() > 10
        sent = cv2.imread(str(next((tmp_path / 'out').rglob(f'vis_image/{name}_0.png'))))
        assert sent.shape == image.shape
    student = str(folder / 'student.pth')
    assert visualize.main(['features', named[0], student, str(tmp_path / 'flower.png'), *out]) == 1
    assert 'expected a checkpoint of the run' in capsys.readouterr().err
