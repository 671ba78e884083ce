"""Checkpoint files survive crashes, full disks and corruption."""

import errno
import os

import pytest
import torch

from tas_mm.engine.checkpoints import archive_previous_run, atomic_write, find_corruption, latest_checkpoint


@pytest.fixture
def saved(tmp_path):
    """Save tensors as a checkpoint of that name."""

    def saved(name: str, age: int = 0):
        path = tmp_path / name
        torch.save(dict(weight=torch.arange(1000.0)), path)
        os.utime(path, (1e9 - age, 1e9 - age))
        return path

    return saved


def cut(path, share=0.5):
    os.truncate(path, int(path.stat().st_size * share))


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_full_disk_leaves_the_previous_file_and_says_so(tmp_path, monkeypatch, step):
    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    path = tmp_path / 'epoch_1.pth'
    atomic_write(b'before', path)
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r'epoch_1.pth was not saved \(No space left on device.*MiB are free.*--resume'):
        atomic_write(b'after', path)
    assert path.read_bytes() == b'before'
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def test_the_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ('fsync', 'replace'):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, f=original, name=name: (calls.append(name), f(*args))[1])
    atomic_write(b'data', tmp_path / 'new folder' / 'file')
    assert calls == ['fsync', 'replace', 'fsync']  # and then the folder
    assert (tmp_path / 'new folder' / 'file').read_bytes() == b'data'


def test_corruption_is_found(saved, tmp_path):
    assert find_corruption(saved('whole.pth')) is None
    for share in (0.001, 0.5, 0.999):
        cut(path := saved('cut.pth'), share)
        assert 'truncated' in find_corruption(path)
    path = saved('flipped.pth')
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    torch.load(path)  # which notices nothing
    assert 'checksum' in find_corruption(path)
    path.write_bytes(b'')
    assert find_corruption(path) == 'it is empty'
    path.write_bytes(b'safetensors, or pickle')
    assert find_corruption(path) is None


def test_a_run_goes_on_from_the_checkpoint_that_is_named(saved, tmp_path):
    assert latest_checkpoint(tmp_path) is None
    first, _ = saved('epoch_1.pth', age=1), saved('epoch_9.pth')  # of an earlier run, say
    (tmp_path / 'last_checkpoint').write_text(str(first))
    assert latest_checkpoint(tmp_path) == str(first)


def test_without_a_name_from_the_newest(saved, tmp_path):
    saved('epoch_1.pth', age=1), saved('best_epoch_2.pth'), saved('teacher.pth')
    second = saved('epoch_2.pth')
    assert latest_checkpoint(tmp_path) == str(second)


@pytest.mark.parametrize('age', [1, 0], ids=['older', 'of the same second'])
def test_the_tenth_epoch_comes_after_the_ninth(saved, tmp_path, age):
    """By their names as text it would not."""
    saved('epoch_9.pth', age)
    tenth = saved('epoch_10.pth')
    assert latest_checkpoint(tmp_path) == str(tenth)


@pytest.mark.parametrize('lost', [cut, os.remove])
def test_a_lost_checkpoint_is_named_and_the_one_before_taken(saved, tmp_path, logged, lost):
    first, second = saved('iter_100.pth', age=1), saved('iter_200.pth')
    (tmp_path / 'last_checkpoint').write_text(str(second))
    lost(second)
    assert latest_checkpoint(tmp_path) == str(first)
    assert f'{second} cannot be used: it ' in logged.text
    assert f'the previous one, {first}' in logged.text


def test_where_all_are_lost_nothing_is_trained_over_them(saved, tmp_path):
    cut(saved('epoch_1.pth'))
    (tmp_path / 'last_checkpoint').write_text('')
    with pytest.raises(
        ValueError, match=r'cannot resume: .*epoch_1.pth cannot be used: it is truncated .*--resume FILE'
    ):
        latest_checkpoint(tmp_path)


def test_a_moved_work_folder_still_resumes(saved, tmp_path):
    first = saved('epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text('/where/it/was/epoch_1.pth')
    assert latest_checkpoint(tmp_path) == str(first)


def test_a_name_that_is_not_local_is_the_storages_own_business(saved, tmp_path):
    saved('epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text('s3://bucket/run/epoch_2.pth')
    assert latest_checkpoint(tmp_path) == 's3://bucket/run/epoch_2.pth'


def test_an_earlier_run_is_archived_whole_and_still_goes_on(saved, tmp_path):
    names = {
        'epoch_1.pth',
        'epoch_2.pth',
        'student_epoch_2.pth',
        'best_acc_epoch_1.pth',
        'student_best_acc_epoch_1.pth',
    }
    for name in (*names, 'teacher.pth'):
        saved(name)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    aside = archive_previous_run(tmp_path, 'epoch_*.pth', tmp_path)
    assert aside.parent == tmp_path
    assert {path.name for path in tmp_path.glob('*.pth')} == {'teacher.pth'}
    assert {path.name for path in aside.glob('*.pth')} == names
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(aside) == str(aside / 'epoch_1.pth')
    assert archive_previous_run(tmp_path, 'epoch_*.pth', tmp_path) is None


def test_runs_of_one_second_are_archived_each_on_its_own(saved, tmp_path):
    folders = []
    for _ in range(3):
        saved('epoch_1.pth')
        folders.append(archive_previous_run(tmp_path, 'epoch_*.pth', tmp_path))
    assert len(set(folders)) == 3
    assert all((folder / 'epoch_1.pth').exists() for folder in folders)
