"""Parts of a data set, and Fashion-MNIST's files as MMPretrain reads them."""

import numpy as np
import pytest

from tas_mm.config import read_config
from tas_mm.datasets import LabeledSubset
from tas_mm.registry import DATASETS

DIGITS = dict(type='tas_mm.Digits', split='train')


def labels(dataset) -> list[int]:
    return [dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))]


def test_a_part_keeps_order_classes_and_pipeline():
    whole, part = DATASETS.build(DIGITS), LabeledSubset(DIGITS, start=100, stop=103)
    assert len(part) == 3
    assert labels(part) == labels(whole)[100:103]
    assert part.metainfo['classes'] == whole.metainfo['classes']
    assert np.array_equal(part[0]['img'], whole[100]['img'])


def test_few_labels_are_balanced_and_drawn_by_the_seed():
    few, again, other = (labels_of(seed) for seed in (1, 1, 2))
    assert sorted(few) == sorted(list(range(10)) * 3)
    assert few == again != other


def labels_of(seed: int) -> list[int]:
    return labels(LabeledSubset(DIGITS, num_labeled=30, seed=seed))


@pytest.mark.parametrize('part', [dict(start=2000), dict(stop=20, num_labeled=30)])
def test_too_few_items_are_refused(part):
    with pytest.raises(ValueError, match=r'LabeledSubset: start=.* of 1297 items, (so none|but num_labeled=30)'):
        LabeledSubset(DIGITS, **part)


def test_the_benchmark_tests_on_test_images_and_chooses_on_others(tmp_path):
    """On small files in Fashion-MNIST's format; MMPretrain's split='test' alone would give the training images."""
    write(tmp_path / 'train', 60000)
    write(tmp_path / 't10k', 10000)
    cfg = read_config('tas_mm::_base_/benchmark/recipe.py')
    parts = {}
    for name in ('train', 'val', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        (dataset.get('dataset') or dataset).data_root = str(tmp_path)
        parts[name] = DATASETS.build(dataset)
    assert {name: len(part) for name, part in parts.items()} == dict(train=55000, val=5000, test=10000)
    assert parts['test'][0]['data_samples'].gt_label == 3  # the test file's labels are all 3
    assert parts['val'][0]['inputs'].shape == (1, 28, 28)
    assert parts['train'][0]['inputs'].shape == (1, 28, 28)


def write(stem, number: int) -> None:
    """Blank images and labels in the IDX format."""
    header = np.array([2051, number, 28, 28], dtype='>i4').tobytes()
    stem.with_name(f'{stem.name}-images-idx3-ubyte').write_bytes(header + bytes(number * 28 * 28))
    header = np.array([2049, number], dtype='>i4').tobytes()
    label = np.full(number, 3 if 'k' in stem.name else 0, dtype=np.uint8)
    stem.with_name(f'{stem.name}-labels-idx1-ubyte').write_bytes(header + label.tobytes())
