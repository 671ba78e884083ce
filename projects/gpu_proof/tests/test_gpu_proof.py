"""Finished parts are not repeated, failed ones are, and a rehearsal on a CPU is not shown as figures of a GPU."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.gpu_proof import checks, isolated, offline, pack, run
from projects.gpu_proof.lines import append_line, line_key, read_lines
from projects.gpu_proof.parts import Part, all_parts
from projects.gpu_proof.photos import make_photos
from projects.gpu_proof.report import BEGIN, END, REHEARSAL, tables, write_page
from projects.gpu_proof.setup import Setup, training
from projects.gpu_proof.training import loader_rows

ROOT = Path(__file__).parents[3]


def line(**more) -> dict:
    """A line of a GPU."""
    where = dict(device='NVIDIA H100, driver 580', versions=dict(torch='2.11.0'), tiny=False, command='python -m x')
    part = dict(part='step/a', kind='step', options=dict(pair='a'), key='1', state='ok', seconds=1.0)
    return dict(part, **where, rows=[dict(method='kd', images_per_second=1234.56, x_kd='1.00')]) | more


def part(name: str, work, **more) -> Part:
    return Part('test', dict(name=name), work, needs=0, **more)


def touching(folder: Path, name: str, fails: bool = False):
    """Work that leaves a file for each time it ran."""

    def work(setup: Setup):
        (folder / f'{name}{len(list(folder.glob(name + "*")))}').touch()
        if fails:
            raise ValueError(f'{name} fell over')
        return [dict(answer=42)], True

    return work


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Call the tool with parts of one's own."""
    folder = tmp_path / 'ran'
    folder.mkdir()
    parts = [
        part('bad', touching(folder, 'bad', fails=True)),
        part('good', touching(folder, 'good')),
        part('other', touching(folder, 'other')),
    ]
    monkeypatch.setattr(run, 'all_parts', lambda setup, out: parts)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')

    def call(*options: str) -> tuple[int, list[str]]:
        status = run.main(['--device', 'cpu', '--tiny', '--out', str(tmp_path), *options])
        return status, sorted(path.name for path in folder.iterdir())

    call.parts = parts
    return call


def test_finished_parts_are_not_repeated_and_failed_ones_are(call, tmp_path, capfd):
    assert call() == (1, ['bad0', 'good0', 'other0'])
    assert 'ValueError: bad fell over' in capfd.readouterr().err
    assert call() == (1, ['bad0', 'bad1', 'good0', 'other0'])
    states = {each['part']: each['state'] for each in read_lines([tmp_path / 'lines.jsonl']).values()}
    assert states == {'test/bad': 'failed', 'test/good': 'ok', 'test/other': 'ok'}
    text = (tmp_path / 'tables.md').read_text()
    assert text.startswith(REHEARSAL)
    assert '`test/bad` did not work' in text
    assert call('--only', 'good', '--again') == (0, ['bad0', 'bad1', 'good0', 'good1', 'other0'])


def test_a_changed_config_or_version_runs_again_and_known_lines_are_taken(call, tmp_path, monkeypatch):
    call()
    os.rename(tmp_path / 'lines.jsonl', tmp_path / 'known.jsonl')
    known = ('--known', str(tmp_path / 'known.jsonl'), '--only')
    assert call(*known, 'good')[1].count('good1') == 0
    call.parts[1] = part('good', call.parts[1].run, configs=('another',))
    assert 'good1' in call(*known, 'good')[1]
    monkeypatch.setattr(run, 'versions', lambda: dict(torch='9.0'))
    assert 'other1' in call(*known, 'other')[1]


def test_no_part_starts_without_the_time_that_it_needs(call, capsys):
    call.parts.insert(0, Part('test', dict(name='long'), call.parts[1].run, needs=90))
    assert call('--minutes', '0') == (1, [])
    assert 'test/long needs 90 s' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('limit', 'seconds', 'state', 'error'),
    [(0.3, 60.0, 'failed', 'ran longer than 0 s'), (60.0, 0.3, 'unfinished', 'the call ended after 0 s')],
)
def test_a_part_that_hangs_is_stopped_with_what_it_started(tmp_path, monkeypatch, limit, seconds, state, error):
    def hang(setup: Setup):
        child = subprocess.Popen(['sleep', '60'])
        (tmp_path / 'pid').write_text(str(child.pid))
        child.wait()

    monkeypatch.setattr(isolated, 'LIMIT', limit)
    found = isolated.run_isolated(part('hang', hang), Setup('cpu', True, tmp_path), seconds)
    assert found['state'] == state
    assert error in found['error']
    time.sleep(0.1)
    status = Path(f'/proc/{(tmp_path / "pid").read_text()}/stat')
    assert not status.exists() or status.read_text().split()[2] == 'Z'


def test_a_crash_is_the_parts_alone(tmp_path):
    found = isolated.run_isolated(part('crash', lambda setup: os._exit(7)), Setup('cpu', True, tmp_path), 60)
    assert found['state'] == 'failed'
    assert 'ended with status 7' in found['error']


def test_a_line_that_was_cut_off_is_left_out_and_the_latest_counts(tmp_path):
    file = tmp_path / 'lines.jsonl'
    append_line(file, line(state='failed'))
    with file.open('a') as stream:
        stream.write(json.dumps(line(key='2'))[:40])
    append_line(file, line())
    assert {key: each['state'] for key, each in read_lines([file, tmp_path / 'none']).items()} == {'1': 'ok'}


def test_a_key_depends_on_options_device_and_versions():
    keys = {
        line_key(options, device, versions)
        for options in (dict(a=1), dict(a=2))
        for device in ('GPU', 'CPU')
        for versions in (dict(torch='2.11'), dict(torch='2.13'))
    }
    assert len(keys) == 8


def test_tables_have_every_row_and_what_failed():
    failed = dict(key='2', part='step/b', options=dict(pair='b'), state='failed', rows=[], error='CUDA out of memory')
    text = tables([line(), line(**failed), line(key='3', kind='doctor', options={}, rows=[dict(what='cuda')])])
    assert '| pair | method | images per second | × kd |\n| --- | --- | --- | --- |\n| a | kd | 1235 | 1.00 |' in text
    assert '`step/b` did not work:\n\n```text\nCUDA out of memory\n```' in text
    assert text.index('### step') < text.index('### doctor')
    assert REHEARSAL not in text


def test_the_page_takes_no_figure_of_a_rehearsal(tmp_path):
    page, raw = tmp_path / 'gpu.md', tmp_path / 'raw.jsonl'
    page.write_text(f'before {BEGIN} old {END} after')
    rehearsed = line(device='x86_64 CPU', rows=[dict(method='slow')])
    with pytest.raises(ValueError, match='none of the lines is from a GPU'):
        write_page(page, raw, [rehearsed])
    assert write_page(page, raw, [rehearsed, line()]) == 1
    text = page.read_text()
    assert text.startswith(f'before {BEGIN}')
    assert text.endswith(f'{END} after')
    assert '1235' in text
    assert 'slow' not in text + raw.read_text()
    assert (ROOT / 'docs/gpu.md').read_text().count(BEGIN) == 1


def test_every_part_is_listed_once_by_name(tmp_path):
    """On a GPU: three pairs, three types, two batch sizes, eager and compiled, for a step and for an epoch."""
    names = [each.name for each in all_parts(Setup('cuda', False, tmp_path, tmp_path), tmp_path)]
    assert len({*names}) == len(names)
    for kind in ('step', 'epoch'):
        assert sum(name.startswith(f'{kind}/') for name in names) == 3 * 3 * 2 * 2
    assert names[0] == 'doctor'
    assert sum(name.startswith('suite/') for name in names) == 12


def test_an_epoch_sees_the_photos(tmp_path):
    setup = Setup('cpu', True, tmp_path / 'work', tmp_path)
    rows = loader_rows(setup, 'tiny')
    assert [row['workers'] for row in rows] == [0]
    photos = sorted(tmp_path.glob('photos/*/*.jpg'))
    assert len(photos) == 8
    before = photos[0].read_bytes()
    make_photos(tmp_path / 'again', 8, 2, (64, 48))
    assert sorted(tmp_path.glob('again/*/*.jpg'))[0].read_bytes() == before
    cfg = training(setup, 'tiny', 'mmrazor:kd', 'bfloat16', 4)
    assert 'val_cfg' not in cfg
    assert 'Pretrained' not in str(cfg.model)


def test_random_numbers_of_a_step_are_switched_off():
    network = checks.without_dropout(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5)).train())
    images = torch.ones(2, 3)
    assert torch.equal(network(images), network(images))


def test_a_pack_is_installed_beside_the_packages_of_this_python(tmp_path):
    """Without its wheels, which need a registry to be made."""
    python = offline.make_environment(tmp_path / 'venv')
    code = 'import sys, numpy; print(sys.prefix, numpy.__version__)'
    said = subprocess.run([python, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert said == [str(tmp_path / 'venv'), np.__version__]
    assert sys.prefix != said[0]


def test_data_of_a_pack_go_where_configs_look(tmp_path):
    raw = tmp_path / 'fashion'
    raw.mkdir()
    (raw / 'train-labels-idx1-ubyte').write_bytes(b'labels' * 99)
    pack.compress(raw, tmp_path / 'pack/data/fashion_mnist')
    make_photos(tmp_path / 'pack/data/photos', 2, 2, (8, 8))
    for _ in range(2):
        offline.place_data(tmp_path / 'pack', tmp_path / 'data')
    assert (tmp_path / 'data/fashion_mnist/train-labels-idx1-ubyte').read_bytes() == b'labels' * 99
    assert len(list(tmp_path.glob('data/photos/*/*.jpg'))) == 2
    packed = (tmp_path / 'pack/data/fashion_mnist/train-labels-idx1-ubyte.gz').read_bytes()
    assert packed == gzip.compress(b'labels' * 99, mtime=0)
