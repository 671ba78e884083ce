"""compare.py: what is trained, in which order, from what; nothing twice; gains paired by seed. No training runs."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / 'compare.py'))
Comparison = SCRIPT['Comparison']


@pytest.fixture
def trained(monkeypatch) -> list[list[str]]:
    """Commands of trainings, each of which leaves a checkpoint, the student's file and a log."""
    commands = []

    def train(command: list[str], **options) -> None:
        commands.append(command)
        folder = Path(command[command.index('--work-dir') + 1])
        steps = next(word.split('=')[1] for word in command if word.startswith('train_cfg.max_iters='))
        for name in (f'iter_{steps}.pth', f'student_iter_{steps}.pth'):
            (folder / name).touch()
        log = folder / '20260101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text(json.dumps({'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.3, 'step': int(steps)}) + '\n')

    monkeypatch.setattr(SCRIPT['subprocess'], 'run', train)
    return commands


def configs(commands: list[list[str]]) -> list[str]:
    return [Path(command[4]).stem for command in commands]


def test_a_row_trains_what_it_needs_once(tmp_path, trained):
    comparison = Comparison(tmp_path / 'runs', tmp_path / 'results.jsonl', 20, 10)
    comparison.run((0, 'few', 'distilled'))
    comparison.run((0, 'all', 'distilled'))  # without labels the student is the same
    comparison.run((0, 'few', 'tas'))
    comparison.run((0, 'few', 'ceiling'))
    assert configs(trained) == [
        'crowns_label_free',
        'retinanet_crowns',
        'retinanet_crowns',
        'retinanet_crowns_mobilenetv2',
        'retinanet_crowns_tas',
    ]
    student = tmp_path / 'runs/no_labels/seed0/crowns_label_free/student_iter_20.pth'
    assert f'model.backbone.init_cfg.checkpoint={student}' in trained[1]
    assert f'model.teacher_ckpt={tmp_path}/runs/few/seed0/ceiling/iter_10.pth' in trained[4]
    assert comparison.done() == {
        (0, 'few', 'distilled'),
        (0, 'all', 'distilled'),
        (0, 'few', 'tas'),
        (0, 'few', 'ceiling'),
    }
    line = json.loads((tmp_path / 'results.jsonl').read_text().splitlines()[0])
    assert (line['mAP'], line['AP50'], line['steps'], line['pretraining_steps']) == (10, 30, 10, 20)
    assert Comparison(tmp_path / 'runs', tmp_path / 'results.jsonl', 20, 11).done() == set()


def test_a_failed_training_stops_the_comparison_and_names_its_log(tmp_path, monkeypatch):
    def fail(command: list[str], **options) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(SCRIPT['subprocess'], 'run', fail)
    monkeypatch.setattr(sys, 'argv', ['compare.py', '--work-dir', str(tmp_path), '--out', str(tmp_path / 'out.jsonl')])
    with pytest.raises(SystemExit, match=f'{tmp_path}/few/seed0/scratch/output.txt'):
        SCRIPT['main']()
    assert [path.name for path in tmp_path.rglob('output.txt')] == ['output.txt']


def test_a_tenth_is_drawn_by_the_seed_and_is_the_same_for_all_rows(tmp_path, trained):
    comparison = Comparison(tmp_path / 'runs', tmp_path / 'results.jsonl', 20, 10)
    for seed, row in ((0, 'scratch'), (0, 'ceiling'), (1, 'scratch')):
        comparison.run((seed, 'few', row))
    first, ceiling, other = (next(w for w in command if 'indices=' in w) for command in trained)
    assert first == ceiling != other
    assert len(json.loads(first.split('=')[1])) == 27
    comparison.run((0, 'all', 'scratch'))
    assert not any('indices=' in word for word in trained[-1])


def test_gains_are_paired_by_seed():
    def line(row: str, seed: int, value: float) -> dict:
        return dict(setting='few', row=row, seed=seed, steps=10, pretraining_steps=20, mAP=value, AP50=3 * value)

    lines = [line('scratch', 0, 5), line('scratch', 1, 7), line('distilled', 0, 8), line('distilled', 1, 11)]
    rows = [[cell.strip() for cell in row.split('|')[4:-1]] for row in SCRIPT['table_of'](lines).splitlines()[2:]]
    assert rows[0] == ['scratch', '2', '6.0 ± 1.4', '18.0 ± 4.2', '-', '-']
    assert rows[1] == ['distilled', '2', '9.5 ± 2.1', '28.5 ± 6.4', '3.5 ± 0.7', '-']


def test_the_table_of_the_readme_is_of_the_results():
    table = SCRIPT['table_of'](SCRIPT['read_lines'](SCRIPT['OUT']))
    assert table.strip() in (Path(__file__).parents[1] / 'README.md').read_text()
