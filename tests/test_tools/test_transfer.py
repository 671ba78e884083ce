"""tools/transfer_detection.py: both students go the same way, and nothing starts that could not end well."""

import json
import runpy
import sys
from pathlib import Path

import pytest

TOOL = str(Path(__file__).parents[2] / 'tools' / 'transfer_detection.py')
START = "init_cfg=dict(type='Pretrained', checkpoint='student.pth', prefix='backbone.')"


@pytest.fixture
def transfer(tmp_path, monkeypatch):
    """The tool in a folder with two students and a detector's config, and the commands that it would run."""
    monkeypatch.chdir(tmp_path)
    Path('tas.pth').write_bytes(b'distilled')
    Path('alone.pth').write_bytes(b'alone')
    Path('retina.py').write_text(f"model = dict(backbone=dict(type='ResNet', {START}))\n")
    commands = []

    def run(words, check, env):
        commands.append(words)
        if 'dist_train.sh' in words[0]:
            folder = Path(words[words.index('--work-dir') + 1])
            (folder / 'last_checkpoint').write_text(f'{folder}/epoch_12.pth')
        elif 'dist_test.sh' in words[0]:
            value = 0.25 if 'alone' in words[2] else 0.5
            metrics = {'coco/bbox_mAP': value, 'coco/bbox_mAP_50': 2 * value, 'coco/bbox_mAP_s': 0.1}
            Path(words[words.index('--out') + 1]).write_text(json.dumps(metrics))

    monkeypatch.setattr('subprocess.run', run)

    def transfer(*options, student='tas.pth', config='retina.py'):
        monkeypatch.setattr(sys, 'argv', [TOOL, student, config, '2', '--alone', 'alone.pth', *options])
        runpy.run_path(TOOL, run_name='__main__')
        return commands

    return transfer


def test_both_students_are_exported_trained_and_tested_the_same_way(transfer, capsys):
    commands = transfer('--work-dirs', 'runs', '--cfg-options', 'train_cfg.max_epochs=1')
    distilled, alone = ([' '.join(words) for words in part] for part in (commands[:3], commands[3:]))
    swapped = [words.replace('runs/retina', 'runs/retina_alone').replace('tas.pth', 'alone.pth') for words in distilled]
    assert alone == swapped
    export, train, test = distilled
    assert export.endswith('export_student.py tas.pth runs/retina/backbone.pth --to backbone')
    options = '--cfg-options model.backbone.init_cfg.checkpoint=runs/retina/backbone.pth train_cfg.max_epochs=1'
    assert train.endswith(f'dist_train.sh retina.py 2 --work-dir runs/retina --resume {options}')
    assert 'dist_test.sh retina.py runs/retina/epoch_12.pth 2 ' in test
    assert test.endswith(options)
    out = capsys.readouterr().out.splitlines()
    assert out[-2:] == [
        'retina: bbox_mAP 0.500, bbox_mAP_50 1.000',
        'retina_alone: bbox_mAP 0.250, bbox_mAP_50 0.500',
    ]
    assert f'train: {train}' in out


def test_a_run_is_resumed_with_the_same_student_alone(transfer):
    assert len(transfer()) == len(transfer()) / 2 == 6
    Path('tas.pth').write_bytes(b'another')
    with pytest.raises(SystemExit, match='work_dirs/retina has a detector of another student than tas.pth'):
        transfer()


@pytest.mark.parametrize(
    ('changed', 'error'),
    [
        (dict(student='nowhere.pth'), 'nowhere.pth does not exist'),
        (dict(config='nowhere.py'), "config 'nowhere.py' does not exist"),
        (dict(config='scratch.py'), 'scratch.py: model.backbone.init_cfg has no checkpoint to replace'),
    ],
)
def test_nothing_starts_with_a_file_missing(transfer, changed, error):
    Path('scratch.py').write_text('model = dict(backbone=dict(init_cfg=None))')
    with pytest.raises(SystemExit, match=error):
        transfer(**changed)
    assert not Path('work_dirs').exists()
