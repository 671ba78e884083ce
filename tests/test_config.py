"""Configs in every form: types as names, with scopes, as paths and as classes; datasets inside of wrappers."""

import pytest
from mmengine.config import Config
from mmpretrain.datasets import PackInputs
from mmpretrain.models import GlobalAveragePooling, ImageClassifier, LinearClsHead, ResNet

from tas_mm.config import innermost_datasets, pipeline_size, registered_name, transforms_of, type_name
from tas_mm.models import TAS, TASDistiller
from tas_mm.student import student_config

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 24)), dict(type=PackInputs)]
DATA = dict(type='CustomDataset', data_root='photos', pipeline=PIPELINE)
WRAPPED = dict(
    concat=dict(type='ConcatDataset', datasets=[DATA, DATA]),
    repeat=dict(type='RepeatDataset', times=3, dataset=DATA),
    both=dict(type='RepeatDataset', times=3, dataset=dict(type='mmengine.ConcatDataset', datasets=[DATA, DATA])),
    balanced=dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=DATA),
    folds=dict(type='mmpretrain.KFoldDataset', dataset=DATA),
    none=DATA,
)


@pytest.mark.parametrize('kind', ['ResNet', 'mmpretrain.ResNet', 'mmpretrain.models.backbones.ResNet', ResNet])
def test_a_type_has_one_name_in_every_form(kind):
    assert type_name(dict(type=kind)) == 'ResNet'
    if not isinstance(kind, str) or kind.count('.') > 1:
        assert registered_name(kind) == 'ResNet'
    assert type_name({}) == ''
    assert registered_name(TASDistiller) == 'tas_mm.TASDistiller'


@pytest.mark.parametrize('name', WRAPPED)
def test_a_pipeline_is_found_inside_of_every_wrapper(name):
    config = Config(dict(train_dataloader=dict(dataset=WRAPPED[name])))
    assert all(type_name(dataset) == 'CustomDataset' for dataset in innermost_datasets(config.train_dataloader.dataset))
    assert [type_name(each) for each in transforms_of(config, 'train_dataloader')] == ['Resize', 'PackInputs']
    assert pipeline_size(config) == (24, 32)


def test_a_dataset_without_a_pipeline_is_named():
    with pytest.raises(ValueError, match='val_dataloader.dataset: Photos has no pipeline'):
        transforms_of(Config(dict(val_dataloader=dict(dataset=dict(type='Photos')))), 'val_dataloader')


def test_a_config_of_classes_gives_a_student_that_plain_mmpretrain_builds():
    student = dict(
        type=ImageClassifier,
        backbone=dict(type=ResNet, depth=18),
        neck=dict(type=GlobalAveragePooling),
        head=dict(type=LinearClsHead, num_classes=3, in_channels=512),
    )
    config = Config(dict(model=dict(type=TAS, architecture=student, teacher=student), default_scope='mmpretrain'))
    exported = student_config(config)
    assert Config.fromstring(exported.pretty_text, '.py').model.backbone.type == 'ResNet'
    assert exported.model.type == 'ImageClassifier'
