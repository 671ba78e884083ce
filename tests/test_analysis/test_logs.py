"""Runs read back from their logs."""

import json
import os
import runpy
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tas_mm.analysis.figures.curves import curves_figure
from tas_mm.analysis.logs import main_metric, probe_metrics, read_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path):
    """Leave the log of some epochs of two steps, as MMEngine does: its minute, epochs, what every accuracy is."""

    def log(minute: int, epochs: range, accuracy: float, resume: bool | None = None):
        folder = tmp_path / f'20260101_10{minute:02}00' / 'vis_data'
        folder.mkdir(parents=True)
        records = []
        for epoch in epochs:
            records += [dict(loss=accuracy, epoch=epoch, step=2 * epoch - 1), dict(loss=accuracy, step=2 * epoch)]
            records.append({'accuracy/top1': accuracy, 'step': epoch})
        (folder / 'scalars.json').write_text(''.join(json.dumps(record) + '\n' for record in records))
        if resume is not None:
            (folder / 'config.py').write_text(f'load_from = None\nresume = {resume}\n')
        return tmp_path

    return log


@pytest.mark.parametrize('resume', [False, None])
def test_of_a_run_that_began_anew_nothing_before_counts(log, resume):
    log(0, range(1, 5), 90.0, resume)
    folder = log(10, range(1, 3), 60.0, resume)
    alone = read_run(folder)
    assert alone.curve('accuracy/top1') == ([1, 2], [60.0, 60.0])
    assert sorted(alone.losses) == [1, 2, 3, 4]
    assert {record['loss'] for record in alone.losses.values()} == {60.0}


@pytest.mark.parametrize('resume', [True, None])
def test_a_resumed_run_is_read_from_where_it_began(log, resume):
    log(0, range(1, 5), 90.0, None if resume is None else False)
    folder = log(10, range(3, 4), 60.0, resume)  # from the checkpoint of the second epoch
    assert read_run(folder).curve('accuracy/top1') == ([1, 2, 3], [90.0, 90.0, 60.0])
    run = read_run(log(20, range(4, 5), 70.0, resume))
    assert run.curve('accuracy/top1') == ([1, 2, 3, 4], [90.0, 90.0, 60.0, 70.0])
    assert [run.losses[step]['loss'] for step in sorted(run.losses)] == [90.0] * 4 + [60.0] * 2 + [70.0] * 2


def test_the_seconds_are_those_of_the_run_alone(log, tmp_path):
    for minute, epochs, resume in ((0, range(1, 5), False), (10, range(1, 3), False), (20, range(3, 5), True)):
        log(minute, epochs, 50.0, resume)
        started = datetime(2026, 1, 1, 10, minute).timestamp()
        os.utime(tmp_path / f'20260101_10{minute:02}00' / 'vis_data' / 'scalars.json', (started + 7, started + 7))
    assert read_run(tmp_path).seconds == 14


@pytest.fixture
def compare(monkeypatch, capsys):
    """Run tools/compare_runs.py and return its output or its error."""

    def compare(*arguments: object) -> str:
        monkeypatch.setattr(sys, 'argv', ['tools/compare_runs.py', *map(str, arguments)])
        try:
            runpy.run_path(str(ROOT / 'tools' / 'compare_runs.py'), run_name='__main__')
        except SystemExit as refused:
            return refused.code
        return capsys.readouterr().out

    return compare


def test_runs_are_compared_by_a_metric_that_they_have(log, compare, tmp_path):
    folder = log(0, range(1, 3), 90.0)
    picture = tmp_path / 'new folder' / 'curves.png'
    assert '90.00' in compare(folder, '--out', picture)
    assert picture.stat().st_size > 5000
    said = compare(folder, '--metric', 'accuracy/top5', '--out', tmp_path / 'none.png')
    assert f'--metric accuracy/top5: not in the logs of {folder.name}. Expected one of accuracy/top1' in said
    assert 'does not have logs of a run' in compare(tmp_path / 'nowhere')
    assert not (tmp_path / 'none.png').exists()


def test_a_table_shows_the_last_epoch_and_not_the_best(log, compare, tmp_path):
    log(0, range(1, 3), 90.0, False)
    folder = log(10, range(3, 12), 60.0, True)  # the eleventh, which is not after the first as text
    log(20, range(12, 13), 70.0, True)
    assert read_run(folder).last('accuracy/top1') == 70.0
    said = compare(folder, '--out', tmp_path / 'curves.png')
    assert '70.00' in said
    assert '90.00' not in said
    assert '60.00' not in said


def test_curves_are_drawn_of_a_metric_that_there_is(log, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import visualize

    folder = log(0, range(1, 3), 90.0)
    out = ('--out', str(tmp_path / 'out'))
    assert visualize.main(['curves', str(folder), '--metric', 'top1', *out]) == 1
    assert '--metric top1: not in the logs' in capsys.readouterr().err
    assert visualize.main(['curves', str(folder), *out]) == 0


def test_runs_without_accuracy_are_compared_and_drawn_by_what_probes_measured(log, compare, tmp_path, monkeypatch):
    """For the teacher only k-NN is measured, and only once."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import visualize

    folder = log(0, range(1, 4), 90.0)
    (file,) = folder.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.open()]
    for line in (line for line in lines if 'accuracy/top1' in line):
        line.update({'agreement/cka': 0.25, 'knn/top1': 40.0, 'assistant.knn/top1': 30.0, 'agreement/retrieval': 5.0})
        del line['accuracy/top1']
    lines[2]['teacher.knn/top1'] = 80.0
    file.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    run = read_run(folder)
    assert (main_metric([run]), probe_metrics([run])) == (
        'knn/top1',
        ['knn/top1', 'agreement/cka', 'agreement/retrieval'],
    )
    figure = curves_figure([run])
    panels = {axes.get_title(): axes.get_ylabel() for axes in figure.axes if axes.get_title()}
    assert panels == {
        'knn/top1': 'top1 accuracy (%)',
        'agreement/cka': 'linear CKA with the teacher',
        'agreement/retrieval': "teacher's image found (%)",
        'sum of the losses': 'loss (nats)',
    }
    (legend,) = figure.legends
    networks = [text.get_text().split(': ')[-1] for text in legend.get_texts()]
    assert sorted(networks) == ['assistant', 'student', 'teacher']
    assert visualize.main(['curves', str(folder), '--out', str(tmp_path / 'out')]) == 0
    assert 'knn/top1, last epoch (%)' in compare(folder, '--out', tmp_path / 'curves.png')
    assert '0.25' in compare(folder, '--metric', 'agreement/cka', '--out', tmp_path / 'curves.png')


def test_a_folder_without_logs(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not have logs of a run'):
        read_run(tmp_path)
