"""Data sets that --data names."""

import shutil

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from sklearn.datasets import load_digits

from tas_mm.recipes.data import find_data, find_images, has_classes

NAMES = ('eight', 'nine', 'seven')


def write_folder(folder, train=6, val=4):
    """Digits of three classes as an image folder."""
    digits = load_digits()
    for name, digit in zip(NAMES, (8, 9, 7)):
        images = digits.images[digits.target == digit]
        for part, start, stop in (('train', 0, train), ('val', train, train + val)):
            (folder / part / name).mkdir(parents=True)
            for i in range(start, stop):
                image = cv2.resize((images[i] * 15.9).astype(np.uint8), (32, 32))
                cv2.imwrite(str(folder / part / name / f'an image {i}.png'), image)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / 'photos')


def labels(config):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(config)
    return [
        (info['img_path'].split('/')[-2], int(info['gt_label']))
        for info in map(dataset.get_data_info, range(len(dataset)))
    ]


def write_table(path, folder, header, split=None):
    rows = [
        f'{image.relative_to(folder.parent)},{image.parent.name},{image.parts[-3]}' for image in folder.rglob('*.png')
    ]
    rows = [
        row if header.endswith('split') else row.rpartition(',')[0]
        for row in rows
        if split in (None, row.rpartition(',')[2])
    ]
    path.write_text('\n'.join([header, *rows]))
    return str(path)


def test_a_folder_is_taken_as_it_is(folder):
    data = find_data(str(folder))
    assert data.classes == ('eight', 'nine', 'seven')
    assert data.sizes == (18, 12)
    assert data.to_rgb
    assert set(labels(data.train)) == {('eight', 0), ('nine', 1), ('seven', 2)}


@pytest.mark.parametrize('two_tables', [False, True])
def test_a_table_gives_the_same_as_the_folder(folder, tmp_path, two_tables):
    if two_tables:
        tables = [write_table(tmp_path / f'{part}.csv', folder, 'path,label', part) for part in ('train', 'val')]
    else:
        tables = [write_table(tmp_path / 'all.csv', folder, 'path,label,split'), None]
    data, same = find_data(tables[0], val_csv=tables[1], lists=tmp_path / 'run'), find_data(str(folder))
    assert (data.classes, data.sizes) == (same.classes, same.sizes)
    for part in ('train', 'val'):
        assert sorted(labels(getattr(data, part))) == sorted(labels(getattr(same, part)))


def test_classes_of_a_table_are_numbered_by_their_names(folder, tmp_path):
    """As those of a folder are, whatever row comes first."""
    rows = [
        f'{next((folder / part / name).iterdir()).relative_to(folder.parent)},{name},{part}'
        for part in ('train', 'val')
        for name in ('seven', 'nine', 'eight')
    ]
    (tmp_path / 'own.csv').write_text('\n'.join(['path,label,split', *rows]))
    data = find_data(str(tmp_path / 'own.csv'), lists=tmp_path / 'run')
    assert data.classes == ('eight', 'nine', 'seven')
    assert set(labels(data.train)) == set(labels(data.val)) == {('eight', 0), ('nine', 1), ('seven', 2)}


def test_a_data_set_by_name():
    data = find_data('tas_mm.Digits')
    assert (len(data.classes), data.sizes, data.load, data.to_rgb) == (10, (1297, 500), [], False)


def test_gray_arrays_become_color(tmp_path):
    """MNIST's files, as MMPretrain reads them."""
    for part, count in (('train', 6), ('t10k', 4)):
        head = (0x803).to_bytes(4, 'big') + b''.join(n.to_bytes(4, 'big') for n in (count, 28, 28))
        (tmp_path / f'{part}-images-idx3-ubyte').write_bytes(head + bytes(count * 784))
        head = (0x801).to_bytes(4, 'big') + count.to_bytes(4, 'big')
        (tmp_path / f'{part}-labels-idx1-ubyte').write_bytes(head + bytes(range(count)))
    data = find_data('MNIST', str(tmp_path))
    assert data.sizes == (6, 4)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(dict(data.val, pipeline=[*data.load, dict(type='PackInputs')]))
    assert dataset[0]['inputs'].shape == (3, 28, 28)


@pytest.mark.parametrize('part', ['train', 'val'])
def test_a_class_of_which_no_image_would_be_found_is_refused(folder, part):
    for image in (folder / part / 'nine').iterdir():
        image.rename(image.with_suffix('.npy'))
    with pytest.raises(ValueError, match=rf'--data .*: {part}/nine holds no image, but files such as .*npy. .*\.jpg'):
        find_data(str(folder))


def test_images_of_every_kind_count_and_none_is_left_out_in_silence(folder):
    first, second, *_ = sorted((folder / 'train' / 'nine').iterdir())
    cv2.imwrite(str(first.with_suffix('.webp')), cv2.imread(str(first)))
    first.with_suffix('.webp').rename(first.with_suffix('.WebP'))
    (folder / 'train' / 'nine' / 'notes.txt').write_text('not an image')
    data = find_data(str(folder))
    assert data.sizes == (19, 12)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(dict(data.train, pipeline=[*data.load, dict(type='PackInputs')]))
    (webp,) = [i for i in range(19) if dataset.get_data_info(i)['img_path'].endswith('.WebP')]
    assert dataset[webp]['inputs'].shape == dataset[0]['inputs'].shape
    second.rename(second.with_suffix('.heic'))
    with pytest.raises(
        ValueError,
        match=r'of train/nine 1 of 8 files, which are images, would be left out, such as .*\.heic. Expected images',
    ):
        find_data(str(folder))


def test_a_class_may_lack_images_in_val_but_not_in_train(folder):
    for part in ('val', 'train'):
        for image in (folder / part / 'nine').iterdir():
            image.unlink()
        if part == 'val':
            assert find_data(str(folder)).sizes == (18, 8)
    with pytest.raises(ValueError, match='train/nine holds no image. Expected images that end with .jpg'):
        find_data(str(folder))


def test_errors_name_the_option_and_what_would_be_valid(folder, tmp_path):
    def refused(*args, **kwargs):
        with pytest.raises(ValueError, match='^--data') as error:
            find_data(*args, lists=tmp_path / 'run', **kwargs)
        return str(error.value)

    assert 'Closest names: CIFAR10, CIFAR100' in refused('CIFAR10O')
    assert 'Expected a folder with train/CLASS' in refused('no such thing')
    assert '--data-root None' in refused('CIFAR100')
    assert 'it does not have a folder train/' in refused(str(folder / 'train'))
    table = tmp_path / 'table.csv'
    table.write_text('file,class\na.png,b\n')
    assert "names ['file', 'class']. Expected a header 'path,label,split'" in refused(str(table))
    table.write_text('path,label,split\na.png,b,test\n')
    assert f"{table}, line 2: the column 'split' holds 'test'" in refused(str(table))
    table.write_text('path,label,split\na.png,b,train\n')
    assert f"{table}: the column 'split' holds 'train'" in refused(str(table))
    table.write_text('path,label,split\nphotos/none.png,b,train\nphotos/none.png,b,val\n')
    assert f'{folder}/none.png is not a file. Expected a path relative to --data-root' in refused(str(table))
    table.write_text('path,label,split\na.png,b,train\na.png,c,val\n')
    (tmp_path / 'a.png').write_bytes(b'')
    assert f"{table}, line 3: no training row is labeled 'c'. Expected 'b'" in refused(str(table))
    shutil.rmtree(folder / 'val' / 'nine')
    assert "only train/ has ['nine']" in refused(str(folder))


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        (b'path,label,split\na.png,b,train\na.png\n', 'line 3: it does not have label and split. Expected a header'),
        (b'path,label,split\na.png,b,train\n\n,b,val\n', 'line 4: it does not have path. Expected a header'),
        ('path,label\na.png,b\na.png,größe\n'.encode('latin-1'), 'line 3: it is not in UTF-8'),
    ],
)
def test_a_row_that_lacks_something_is_named(tmp_path, table, message):
    (tmp_path / 'own.csv').write_bytes(table)
    with pytest.raises(ValueError, match='^--data') as error:
        find_data(str(tmp_path / 'own.csv'), lists=tmp_path / 'run')
    assert f'{tmp_path / "own.csv"}, {message}' in str(error.value)


def test_what_would_be_ignored_is_refused(folder, tmp_path):
    whole = write_table(tmp_path / 'all.csv', folder, 'path,label,split')
    val = write_table(tmp_path / 'val.csv', folder, 'path,label', 'val')
    with pytest.raises(ValueError, match=r"--data .*all.csv with --val-csv .*val.csv: the column 'split'"):
        find_data(whole, val_csv=val, lists=tmp_path / 'run')
    for option in (dict(val_csv=val), dict(data_root=str(tmp_path))):
        with pytest.raises(ValueError, match=r'--(val-csv|data-root) .* does not apply to --data .*photos'):
            find_data(str(folder), **option)
    with pytest.raises(ValueError, match='--val-csv .* does not apply to --data CIFAR100'):
        find_data('CIFAR100', str(tmp_path), val)


# ---- images without labels ------------------------------------------------------------------------------------------


def write_pool(folder, number):
    """Images as bright as their number, in nested folders."""
    for i in range(number):
        path = folder / f'year {i % 3}' / ('raw' if i % 2 else '.') / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((4, 4, 3), i % 256, np.uint8))
    return folder


def paths(config):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(dict(config, pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
    assert not any('gt_label' in item['data_samples'] for item in dataset)
    return {info['img_path'] for info in map(dataset.get_data_info, range(len(dataset)))}


def test_images_of_a_folder_are_found_in_any_nesting_and_a_part_is_held_out(tmp_path):
    pool = write_pool(tmp_path / 'pool', 100)
    (pool / 'year 0' / 'notes.txt').write_text('not an image')
    data = find_images(str(pool), tmp_path / 'lists')
    train, val = paths(data.train), paths(data.val)
    assert data.sizes == (len(train), len(val)) == (84, 16)
    assert train | val == {str(path) for path in pool.rglob('*.png')}
    assert not train & val
    assert (data.classes, data.to_rgb) == ((), True)
    assert paths(find_images(str(pool), tmp_path / 'again').val) == val


def test_a_twentieth_is_held_out_and_the_others_stay_where_images_are_added(tmp_path, monkeypatch):
    data = find_images(str(write_pool(tmp_path / 'pool', 240)), tmp_path)
    assert data.sizes == (224, 16)
    before = paths(data.val)
    monkeypatch.setattr('tas_mm.recipes.data.MOST_HELD_OUT', 17)
    data = find_images(str(write_pool(tmp_path / 'pool', 250)), tmp_path)
    assert len(paths(data.val) - before) <= 2
    data = find_images(str(write_pool(tmp_path / 'pool', 400)), tmp_path)
    assert data.sizes == (383, 17)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match='^--data .*nowhere: there is no such folder. Expected one with images'):
        find_images(str(tmp_path / 'nowhere'))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='^--data .*empty: 0 of its 0 files are images .*jpg.* at least 16'):
        find_images(str(tmp_path / 'empty'))
    with pytest.raises(ValueError, match='15 of its 15 files'):
        find_images(str(write_pool(tmp_path / 'few', 15)))
    pool = write_pool(tmp_path / 'pool', 20)
    (pool / 'year 0' / '0.png').rename(pool / 'year 0' / 'a\nb.png')
    with pytest.raises(ValueError, match=r"cannot hold the name 'year 0/a\\nb.png'. Rename"):
        find_images(str(pool), tmp_path)


def test_what_is_left_out_is_said(tmp_path, logged):
    pool = write_pool(tmp_path / 'pool', 20)
    (pool / '1.heic').write_bytes(b'')
    find_images(str(pool), tmp_path)
    assert '1 images are left out, such as 1.heic' in logged.text


def test_only_a_folder_without_train_and_val_has_no_classes(folder):
    assert has_classes(str(folder))
    assert not has_classes(str(folder / 'train'))
    assert has_classes('CIFAR100')
    shutil.rmtree(folder / 'val')
    assert has_classes(str(folder))  # and find_data says what it lacks
