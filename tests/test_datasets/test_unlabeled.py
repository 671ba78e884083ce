"""Images without labels: alone, and mixed with labeled ones in fixed shares."""

import itertools

import numpy as np
import pytest
import torch
from mmcv import imwrite
from mmengine.dataset import default_collate
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader

from tas_mm.datasets import ShareSampler
from tas_mm.engine.seeding import PlacedSampler
from tas_mm.models.knowledge import labels_of
from tests import networks

LABELED, UNLABELED = range(8), range(100, 140)
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


def sampler_of(shares=(1, 3), **options):
    return ShareSampler(ConcatDataset([LABELED, UNLABELED]), shares, seed=0, **options)


def epochs(sampler, number):
    for epoch in range(number):
        sampler.set_epoch(epoch)
        yield list(sampler)


@pytest.mark.parametrize(('shares', 'batch_size'), [((1, 3), 4), ((1, 3), 8), ((3, 2), 10), ((1, 1), 2)])
def test_every_batch_has_its_shares(shares, batch_size):
    batches = BatchSampler(sampler_of(shares), batch_size, drop_last=True)
    counts = {sum(index < 8 for index in batch) for batch in batches}
    assert counts == {batch_size * shares[0] // sum(shares)}


def test_an_epoch_sees_all_images_or_one_pass_of_the_set_that_is_named():
    longest, few = sampler_of(), sampler_of(epoch_of=0)
    (whole,), (short,) = epochs(longest, 1), epochs(few, 1)
    assert len(longest) == len(whole) == 56  # 14 times one labeled image and three others
    assert set(whole) == set(range(48))
    assert len(few) == len(short) == 32
    assert sorted(index for index in short if index < 8) == [*range(8)]
    assert len({index for index in short if index >= 8}) == 24


def test_short_epochs_go_on_where_the_last_one_stopped():
    seen = [index for epoch in epochs(sampler_of(epoch_of=0), 5) for index in epoch if index >= 8]
    passes = [seen[:40], seen[40:80], seen[80:120]]
    assert all(set(one) == set(range(8, 48)) for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_an_epoch_depends_on_nothing_that_ran_before():
    first, again = [*epochs(sampler_of(), 3)], sampler_of()
    again.set_epoch(2)
    assert list(again) == first[2]
    other = ShareSampler(ConcatDataset([LABELED, UNLABELED]), (1, 3), seed=1)
    assert list(other) != first[0]


def test_a_run_resumes_within_an_epoch():
    placed = PlacedSampler(sampler_of(), seed=3)
    whole = [(int(index), index.place) for index in placed]
    placed.start_at(12)
    assert [(int(index), index.place) for index in placed] == whole[12:]


def test_processes_share_an_epoch_each_with_the_shares(monkeypatch):
    parts = []
    for rank in range(2):
        monkeypatch.setattr('tas_mm.datasets.share_sampler.get_dist_info', lambda rank=rank: (rank, 2))
        parts.append(list(sampler_of()))
    assert len(parts[0]) == len(parts[1]) == 28
    assert {sum(index < 8 for index in part[at : at + 4]) for part in parts for at in range(0, 28, 4)} == {1}
    assert set(itertools.chain(*parts)) == set(range(48))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(shares=(1, 2, 3)), r'sampler.shares=\(1, 2, 3\). Expected 2 whole numbers'),
        (dict(shares=(0.25, 0.75)), 'sampler.shares=.*Expected 2 whole numbers of at least 1'),
        (dict(epoch_of=2), 'sampler.epoch_of=2. Expected None, or 0 to 1'),
    ],
)
def test_shares_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=f'^train_dataloader.{message}'):
        sampler_of(**options)


def test_one_data_set_has_no_shares():
    with pytest.raises(ValueError, match='ShareSampler needs a ConcatDataset. Got range'):
        ShareSampler(LABELED, (1, 3))


# ---- files, collation, preprocessing --------------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path):
    """Gray images in nested folders, one as bright as its number."""
    for i, name in enumerate(('a.png', 'b/c.png', 'b/d/e.PNG', 'f/g/h/i.png')):
        imwrite(np.full((4, 4, 3), i, np.uint8), str(tmp_path / 'pool' / name.lower()))
    (tmp_path / 'pool' / 'b' / 'd' / 'e.png').rename(tmp_path / 'pool' / 'b' / 'd' / 'e.PNG')
    (tmp_path / 'pool' / 'b' / 'notes.txt').write_text('not an image')
    for name in ('cat', 'dog'):
        imwrite(np.full((4, 4, 3), 200, np.uint8), str(tmp_path / 'own' / name / '1.png'))
    return tmp_path


def build(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(cfg)


def test_images_are_found_in_any_nesting_and_have_no_label(pool):
    dataset = build(
        dict(type='CustomDataset', data_root=str(pool / 'pool'), with_label=False, pipeline=PIPELINE, test_mode=True)
    )
    assert sorted(int(item['inputs'][0, 0, 0]) for item in dataset) == [0, 1, 2, 3]
    batch = default_collate([dataset[0], dataset[1]])
    assert labels_of(batch['data_samples']) is None


def mixed_batch(pool):
    """Two labeled images and four others, as a loader gives them."""
    custom = dict(type='CustomDataset', pipeline=PIPELINE)
    dataset = build(
        dict(
            type='ConcatDataset',
            ignore_keys='classes',
            datasets=[
                dict(custom, data_root=str(pool / 'own')),
                dict(custom, data_root=str(pool / 'pool'), with_label=False),
            ],
        )
    )
    assert dataset.metainfo['classes'] == ('cat', 'dog')
    loader = DataLoader(dataset, 6, sampler=ShareSampler(dataset, (1, 2), seed=0), collate_fn=default_collate)
    return next(iter(loader))


@pytest.mark.parametrize('mixes', [False, True])
@pytest.mark.parametrize('as_list', [False, True])
def test_labeled_and_unlabeled_images_in_one_batch(pool, mixes, as_list):
    batch = mixed_batch(pool)
    np.random.seed(0)
    brightness = batch['inputs'][:, 0, 0, 0].tolist()
    labeled = [value == 200 for value in brightness]
    assert sum(labeled) == 2
    augments = dict(batch_augments=dict(augments=[dict(type='Mixup', alpha=1.0)])) if mixes else {}
    preprocessor = MODELS.build(
        dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[2.0] * 3, num_classes=2, **augments)
    )
    data = dict(batch, inputs=list(batch['inputs'])) if as_list else batch
    given = preprocessor(data, training=True)
    shown = given['inputs'][:, 0, 0, 0]
    assert ['gt_label' in sample for sample in given['data_samples']] == labeled
    assert ['gt_score' in sample for sample in given['data_samples']] == [mixes and each for each in labeled]
    expected = torch.tensor(brightness) / 2
    assert torch.allclose(shown[labeled], expected[labeled])  # of one brightness, mixed or not
    others = torch.tensor(labeled).logical_not()
    assert torch.allclose(shown[others], expected[others]) != mixes
    assert float(shown[others].max()) < 1.6  # mixed among themselves, or the labels would be wrong


def test_images_without_labels_are_mixed_where_the_preprocessor_mixes(pool):
    batch = mixed_batch(pool)
    np.random.seed(0)
    keep = [i for i, value in enumerate(batch['inputs'][:, 0, 0, 0].tolist()) if value != 200]
    batch = dict(inputs=batch['inputs'][keep], data_samples=[batch['data_samples'][i] for i in keep])
    augments = dict(augments=[dict(type='Mixup', alpha=1.0)])
    preprocessor = MODELS.build(dict(type='mmpretrain.ClsDataPreprocessor', num_classes=2, batch_augments=augments))
    assert torch.equal(preprocessor(batch)['inputs'], batch['inputs'].float())
    assert not torch.equal(preprocessor(batch, training=True)['inputs'], batch['inputs'].float())


class Model(BaseModel):
    """Notes the images that it trains on, by their brightness, and how many labels there are."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, inputs, data_samples, mode):
        labels = sum('gt_label' in sample for sample in data_samples)
        self.seen.append((labels, [float(image.float().mean()) for image in inputs]))
        return dict(loss=self.weight.square().sum())


def run(pool, work_dir, **options):
    custom = dict(type='mmpretrain.CustomDataset', serialize_data=False)
    custom['pipeline'] = [
        dict(type='mmpretrain.LoadImageFromFile'),
        dict(type='mmpretrain.RandomFlip', prob=0.5),
        dict(type='mmpretrain.PackInputs'),
    ]
    datasets = [
        dict(custom, data_root=str(pool / 'own')),
        dict(custom, data_root=str(pool / 'pool'), with_label=False),
    ]
    runner = Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(type='ConcatDataset', datasets=datasets, ignore_keys='classes'),
            batch_size=3,
            num_workers=0,
            sampler=dict(type='tas_mm.ShareSampler', shares=(1, 2)),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            check_data=dict(type='tas_mm.CheckDataHook'),
            seed=dict(type='tas_mm.SeedHook'),
            checkpoint=dict(type='tas_mm.CheckpointHook', interval=1, by_epoch=False),
        ),
        experiment_name=f'mixed_{abs(hash(str(work_dir)))}',
        log_level='ERROR',
        **options,
    )
    runner.train()
    return runner.model.seen


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_mixed_run_resumed_in_the_middle_of_an_epoch_sees_the_same_images(pool, by_epoch):
    """Also where the run itself has drawn the seed."""
    length = dict(by_epoch=True, max_epochs=3) if by_epoch else dict(by_epoch=False, max_iters=6)
    whole = run(pool, pool / 'run', train_cfg=length)
    assert [labels for labels, _ in whole] == [1] * 6
    checkpoint = dict(load_from=str(pool / 'run' / 'iter_3.pth'), resume=True)
    assert run(pool, pool / 'again', train_cfg=length, **checkpoint) == whole[3:]


@pytest.mark.parametrize('mixes', [False, True])
def test_a_mixed_batch_is_distilled_with_the_own_loss_of_the_labeled_images(build_tas, mixes):
    student = networks.resnet(norm_eval=True)
    if mixes:
        student['train_cfg'] = dict(augments=[dict(type='Mixup', alpha=1.0)])
    preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', num_classes=networks.NUM_CLASSES)
    model = build_tas(student, dict(networks.vit(), head=None), data_preprocessor=preprocessor)
    images = torch.randn(6, 3, networks.SIZE, networks.SIZE)
    samples = [DataSample().set_gt_label(i % 5) if i % 3 == 0 else DataSample() for i in range(6)]
    np.random.seed(0)
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    losses = model(**data, mode='loss')
    assert {'student.loss', 'distill.loss_ts_nce'} <= losses.keys()
    student = model.architecture
    own = [sample for sample in data['data_samples'] if 'gt_label' in sample]
    assert len(own) == 2
    expected = student(data['inputs'][[0, 3]], own, mode='loss')['loss']
    assert float(losses['student.loss']) == pytest.approx(float(expected), rel=1e-4)
