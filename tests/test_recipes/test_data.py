"""Data sets that --data names."""

import shutil

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from sklearn.datasets import load_digits

from tas_mm.recipes.data import find_data

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

    assert 'Nearest: CIFAR10, CIFAR100' in refused('CIFAR10O')
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
