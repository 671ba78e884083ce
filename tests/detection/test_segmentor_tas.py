"""TAS inside a segmentor: Semantic FPN on a narrow ResNet learns from UPerNet on a narrow Swin."""

from copy import deepcopy

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData

from tas_mm.config import read_config, without_weights
from tests.detection.tiny import SWIN, observe_teacher

pytestmark = pytest.mark.detection
PATHS = {f'distill.loss_{path}_nce' for path in ('ts', 'ta', 'as')}


def student() -> dict:
    model = Config(without_weights(read_config('tas_mm::segmentation/sem_fpn_r18.py').model.to_dict()))
    model.backbone.update(base_channels=8, stem_channels=8, norm_cfg=dict(type='BN'))
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.decode_head.update(in_channels=[16] * 4, channels=16, norm_cfg=dict(type='BN'), num_classes=5)
    return model.to_dict()


def teacher() -> dict:
    model = Config(
        without_weights(
            read_config(
                'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
            ).model.to_dict()
        )
    )
    model.pop('backbone')
    model.update(pretrained=None, auxiliary_head=None)
    model.backbone = SWIN
    model.decode_head.update(in_channels=[16, 32, 64, 128], channels=16, norm_cfg=dict(type='BN'), num_classes=5)
    return model.to_dict()


@pytest.fixture(scope='module')
def algorithm():
    utils = pytest.importorskip('mmseg.utils')
    utils.register_all_modules(init_default_scope=False)
    model = dict(type='tas_mm.SegmentorTAS', architecture=student(), teacher=teacher())
    with DefaultScope.overwrite_default_scope('mmseg'):
        algorithm = MODELS.build(ConfigDict(deepcopy(model)))
    algorithm.init_weights()
    return algorithm.train()


def batch(annotated=(True, True)) -> dict:
    from mmseg.structures import SegDataSample

    samples = []
    for has in annotated:
        sample = SegDataSample(metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128)))
        if has:
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, 96, 128)))
        samples.append(sample)
    return dict(inputs=torch.randn(len(samples), 3, 96, 128), data_samples=samples)


@pytest.mark.parametrize('annotated', [(True, True), (True, False)])
def test_a_segmentor_learns_from_a_swin(algorithm, annotated):
    losses = algorithm(**batch(annotated), mode='loss')
    assert losses.keys() > PATHS | {'student.decode.loss_ce'}
    algorithm.zero_grad()
    algorithm.parse_losses(losses)[0].backward()
    trained = {name: p for name, p in algorithm.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []  # DDP would stop


def test_regions_are_images_and_their_cells(algorithm):
    seen = observe_teacher(algorithm, batch())
    regions = seen.regions
    assert regions.shape == (2 * 17, 5)
    assert regions[0].tolist() == [0, 0, 0, 128, 96]
    assert regions[1].tolist() == [0, 0, 0, 32, 24]
    assert regions[-1].tolist() == [1, 96, 72, 128, 96]
    assert seen.feature.shape == (2 * 17, 128)


@pytest.mark.parametrize('role', ['student', 'teacher'])
def test_its_late_stages_give_what_the_whole_backbone_gives(algorithm, role):
    view = getattr(algorithm.distiller, f'{role}_view')
    for start in (2, 3, 4, 5):
        assert view.check_tail(start) < 1e-5
