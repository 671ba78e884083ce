"""The embedded data set."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tas_mm.datasets import Digits


def test_sizes_and_values():
    train, test = Digits('train'), Digits('test')
    assert (len(train), len(test)) == (1297, 500)
    image = train[0]['img']
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert max(item['img'].max() for item in train) == 255
    assert len(train.metainfo['classes']) == 10


def test_no_image_is_in_both_parts():
    labels = load_digits().target.tolist()
    assert [item['gt_label'] for item in Digits('train')] == labels[:1297]
    assert [item['gt_label'] for item in Digits('test')] == labels[1297:]


def test_a_labeled_part_is_balanced_and_drawn_by_the_seed():
    few = Digits('train', num_labeled=50, seed=1)
    labels = [item['gt_label'] for item in few]
    assert [labels.count(c) for c in range(10)] == [5] * 10
    again, other = Digits('train', num_labeled=50, seed=1), Digits('train', num_labeled=50, seed=2)
    same = [np.array_equal(a['img'], b['img']) for a, b in zip(few, again)]
    assert all(same)
    assert not all(np.array_equal(a['img'], b['img']) for a, b in zip(few, other))
    assert len(Digits('train', num_labeled=7)) == 7


@pytest.mark.parametrize(
    ('kwargs', 'message'), [(dict(split='val'), 'split'), (dict(split='train', num_labeled=5000), '5000')]
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Digits(**kwargs)
