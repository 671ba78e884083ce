"""tools/distill.py on images without labels."""

import contextlib
import io
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from tas_mm.analysis.logs import read_run

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
PAIR = ('--teacher', 'timm:test_vit', '--student', 'timm:test_resnet', '--size', '32', '--workers', '0', '--offline')


def write_images(folder, count, seed=0):
    """Write noise whose color tells its class; every third image is of one."""
    random = np.random.default_rng(seed)
    for i in range(count):
        image = random.integers(0, 60, (40, 40, 3), dtype=np.uint8)
        image[..., i % 3] += 120
        file = folder(i) / f'{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A whole run with a probe and fine-tuning; the folder, and what was printed."""
    import distill

    folder = tmp_path_factory.mktemp('run')
    write_images(lambda i: folder / 'pool' / f'a{i % 2}' / f'b{i % 3}', 40)
    for part, count in (('train', 12), ('val', 6)):
        write_images(lambda i, part=part: folder / 'labeled' / part / f'class{i % 3}', count)
    labeled = str(folder / 'labeled')
    numbers = ('--epochs', '2', '--finetune-epochs', '1', '--batch-size', '8')
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        distill.main(
            [*PAIR, *numbers, '--data', str(folder / 'pool'), '--probe', labeled, '--finetune', labeled]
            + ['--work-dir', str(folder / 'work')]
        )
    return folder / 'work', printed.getvalue()


def test_table_has_every_network_and_what_fine_tuning_made_of_the_student(run):
    work_dir, printed = run
    for word in ('knn/top1', 'linear/top1', 'agreement/cka', 'finetune', 'scratch', 'THE TEACHER HAS RANDOM WEIGHTS'):
        assert word in printed
    log = read_run(work_dir / 'distill')
    assert all(log.last(f'{role}knn/top1') is not None for role in ('', 'assistant.', 'teacher.'))
    assert (work_dir / 'curves.png').is_file()


def test_networks_have_no_head_and_no_label_is_asked_for(run):
    config = Config.fromfile(run[0] / 'distill.py')
    assert config.teacher.num_classes == config.student.num_classes == 0
    assert not config.model.calculate_student_loss
    assert config.train_dataloader.dataset.with_label is False
    train, held_out = (set((run[0] / 'images' / f'{part}.txt').read_text().split()) for part in ('train', 'val'))
    assert len(train) + len(held_out) == 40
    assert not train & held_out


def test_fine_tuning_starts_from_the_distilled_backbone(run):
    work_dir, _ = run
    config = Config.fromfile(work_dir / 'finetune.py')
    assert config.load_from == str(work_dir / 'student.pth')
    backbone = torch.load(work_dir / 'student.pth', weights_only=True)
    backbone = backbone.get('state_dict', backbone)
    distilled = torch.load(work_dir / 'distill' / 'epoch_2.pth', weights_only=False)['state_dict']
    assert backbone
    for name, value in backbone.items():
        assert torch.equal(value, distilled[f'architecture.{name}'])
    tuned = torch.load(work_dir / 'finetune' / 'epoch_1.pth', weights_only=False)['state_dict']
    assert backbone.keys() < tuned.keys()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--data', 'EMPTY'), '0 of its 0 files are images'),
        (('--data', 'POOL', '--baseline'), '--baseline, --teacher-epochs: they need labels'),
        (('--data', 'LABELED', '--probe', 'LABELED'), '--probe: the images of --data have labels already'),
    ],
)
def test_bad_options(tmp_path, options, message):
    import distill

    folders = {name: tmp_path / name.lower() for name in ('EMPTY', 'POOL', 'LABELED')}
    folders['EMPTY'].mkdir()
    write_images(lambda i: folders['POOL'], 6)
    write_images(lambda i: folders['LABELED'] / ('train', 'val')[i % 2] / f'class{i % 3}', 12)
    options = [str(folders.get(option, option)) for option in options]
    with pytest.raises(SystemExit) as refused:
        distill.main([*PAIR, *options, '--work-dir', str(tmp_path / 'work')])
    assert message in str(refused.value.code)
