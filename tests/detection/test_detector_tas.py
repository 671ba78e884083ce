"""TAS inside detectors: Swin teaches ResNet, both of them Faster R-CNN, on synthetic boxes."""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tas_mm.config import read_config, without_weights
from tas_mm.models.stages import view_of
from tests.detection.data import build_detector, coco
from tests.plain import run_without_tas_mm

pytestmark = pytest.mark.detection
ROOT = Path(__file__).parents[2]
CONFIG = 'configs/detection/tas_faster_rcnn_swin_t_to_r18.py'
TEACHER = 'configs/detection/teachers/faster_rcnn_swin_t.py'


def thin(detector: dict) -> dict:
    """A Faster R-CNN with a thin neck and head, few proposals, and no weights to load."""
    detector = Config(without_weights(detector))
    detector.neck.out_channels = detector.rpn_head.in_channels = detector.rpn_head.feat_channels = 16
    detector.roi_head.bbox_roi_extractor.out_channels = detector.roi_head.bbox_head.in_channels = 16
    detector.roi_head.bbox_head.fc_out_channels = 32
    detector.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=20)
    detector.train_cfg.rcnn.sampler.num = 16
    detector.test_cfg.rpn.update(nms_pre=100, max_per_img=20)
    return detector.to_dict()


@pytest.fixture(scope='module')
def model() -> dict:
    """The model of the shipped config, with thin networks."""
    model = read_config(str(ROOT / CONFIG)).model.to_dict()
    teacher = thin(read_config(str(ROOT / TEACHER)).model.to_dict())
    teacher['backbone'].update(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
    teacher['neck']['in_channels'] = [16, 32, 64, 128]
    student = thin(model['architecture'])
    student['backbone'].update(stem_channels=8, base_channels=8)
    student['neck']['in_channels'] = [8, 16, 32, 64]
    return dict(model, architecture=student, teacher=teacher, teacher_ckpt=None)


@pytest.fixture
def algorithm(model):
    algorithm = build_detector(deepcopy(model))
    algorithm.init_weights()
    return algorithm.train()


def batch(algorithm) -> dict:
    """Two images of different sizes with two and three boxes, preprocessed."""
    from mmdet.testing import demo_mm_inputs

    data = demo_mm_inputs(2, [[3, 96, 160], [3, 130, 96]], num_items=[2, 3], num_classes=80)
    return algorithm.data_preprocessor(data, training=True)


def test_a_step_trains_all_but_the_teacher(algorithm):
    before = {name: value.clone() for name, value in algorithm.teacher.network.state_dict().items()}
    loss, logs = algorithm.parse_losses(algorithm(**batch(algorithm), mode='loss'))
    assert {'student.loss_cls', 'student.loss_bbox', 'student.loss_rpn_cls', 'student.loss_rpn_bbox'} < logs.keys()
    assert {key for key in logs if key.startswith('distill.')} == {f'distill.loss_{p}_nce' for p in ('ts', 'ta', 'as')}
    loss.backward()
    torch.optim.SGD(algorithm.parameters(), lr=0.01).step()
    trained = {name: p for name, p in algorithm.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []  # DDP would stop
    assert not any(module.training for module in algorithm.teacher.network.modules())
    assert all(torch.equal(value, before[name]) for name, value in algorithm.teacher.network.state_dict().items())
    assert {name.split('.')[0] for name in algorithm.state_dict()} == {'architecture', 'distiller'}


def test_the_assistants_loss_reaches_the_student_through_the_teachers_last_stage(algorithm):
    losses = algorithm(**batch(algorithm), mode='loss')
    losses['distill.loss_ta_nce'].backward()
    backbone = algorithm.student.backbone
    assert backbone.layer3[0].downsample[0].weight.grad.abs().sum() > 0  # fresh blocks add nothing to it yet
    assert backbone.layer4[0].downsample[0].weight.grad is None
    assert all(p.grad is None for p in algorithm.teacher.network.parameters())


def test_the_assistant_is_made_of_the_networks_own_modules(algorithm):
    """Its features, for images of a size that it was not built for, computed by hand."""
    algorithm.eval()
    data = batch(algorithm)
    assistant = algorithm.distiller.assistant
    assert (assistant.early_role, type(assistant.projector).__name__) == ('student', 'L2GProjector')
    net, late = algorithm.student.backbone, algorithm.teacher.network.backbone
    with torch.no_grad():
        maps = net(data['inputs'])
        projected = assistant.projector(maps[2])
        assert projected.shape[-2:] == maps[3].shape[-2:]
        tokens = late.stages[3](projected.flatten(2).transpose(1, 2), projected.shape[-2:])[0]
        wanted = late.norm3(tokens).mean(dim=1)
        torch.testing.assert_close(assistant(maps[2]).feature, wanted)


def test_a_region_is_the_mean_of_its_cells(algorithm):
    data = batch(algorithm)
    regions = algorithm._regions(**data, found=None)
    assert regions[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert regions[0].tolist() == [0, 0, 0, 160, 96]
    assert regions[3].tolist() == [1, 0, 0, 96, 130]  # without the padding
    view = algorithm.distiller.student_view
    x = torch.randn(2, 3, 4, 5)
    regions = torch.tensor([[0, 0, 0, 160, 128], [1, 32, 64, 96, 128]], dtype=torch.float)
    wanted = torch.stack([x[0].mean((1, 2)), x[1, :, 2:4, 1:3].mean((1, 2))])
    torch.testing.assert_close(view.feature_of((x,), regions), wanted)
    torch.testing.assert_close(view.feature_of((x,)), x.mean((2, 3)))


def test_losses_between_stages_take_images_of_any_size(model):
    projector = dict(type='tas_mm.ConvProjector')
    term = dict(
        type='mmrazor.L2Loss', normalize=False, reads=dict(student='stage2', teacher='stage3'), connector=projector
    )
    distiller = dict(type='tas_mm.PairDistiller', terms=dict(fitnet=term))
    algorithm = build_detector(deepcopy(dict(model, distiller=distiller))).train()
    losses = algorithm(**batch(algorithm), mode='loss')
    losses['distill.loss_fitnet'].backward()
    assert algorithm.distiller.connectors['fitnet_student'].conv.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('backbone', ['MobileNetV2', 'SwinTransformer'])
def test_other_backbones_are_late_parts_too(model, backbone):
    detector = deepcopy(model['teacher'])
    if backbone == 'MobileNetV2':
        detector['backbone'] = dict(type='mmpretrain.MobileNetV2', widen_factor=0.25, out_indices=(1, 2, 4, 7))
        detector['neck']['in_channels'] = [8, 8, 24, 1280]
    view = view_of(build_detector(detector))
    for start in (2, 3, 4, 5):
        assert view.check_tail(start) < 1e-5


@pytest.mark.parametrize(
    ('changed', 'error'),
    [
        (
            dict(distiller=dict(type='tas_mm.TASDistiller', logit_loss=dict(type='tas_mm.OFALoss'))),
            'model.distiller.logit_loss: loss_ts_kd is not possible, '
            'because the student and the teacher have no logits',
        ),
        (dict(teacher_cache='cache'), 'model.teacher_cache keeps features of images, not of regions'),
        (dict(teacher_score=1.5), 'model.teacher_score=1.5. Expected a number between 0 and 1'),
        (dict(teacher=['a', 'b']), 'model.teacher is a list. Expected one teacher for DetectorTAS'),
        (dict(architecture='ResNeXt'), 'no stage view for mmdet.HourglassNet in a detector. Expected ResNet'),
    ],
)
def test_what_does_not_fit_is_refused_with_its_key(model, changed, error):
    changed = deepcopy({**model, **changed})
    if changed['architecture'] == 'ResNeXt':
        changed['architecture'] = deepcopy(model['architecture'])
        changed['architecture']['backbone'] = dict(type='HourglassNet')
    with pytest.raises(ValueError, match=error):
        build_detector(changed)


PLAIN = """
import torch
from mmengine.config import Config
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
register_all_modules()
checkpoint = torch.load({file!r}, weights_only=True)
model = MODELS.build(Config.fromstring(checkpoint['meta']['cfg'], '.py').model)
model.load_state_dict(checkpoint['state_dict'], strict=True)
print(type(model).__name__, len(checkpoint['meta']['dataset_meta']['classes']))
"""


@pytest.fixture
def train(model, tmp_path):
    """Train thin networks on four images, by one process or several, and return the checkpoint of an epoch."""
    coco(tmp_path / 'data' / 'coco')
    lines = [f"_base_ = '{ROOT / CONFIG}'", f'model = {dict(model, _delete_=True)!r}', 'default_scope = "mmdet"']
    lines.append('randomness = dict(seed=0)')  # of the teacher's weights, too
    for split in ('train', 'val', 'test'):
        lines.append(f'{split}_dataloader = dict(num_workers=0, persistent_workers=False)')
    (tmp_path / 'tiny.py').write_text('\n'.join(lines))
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT), PYTHON=sys.executable)

    def train(processes: int, folder: str, *options: str, epochs: int = 1) -> Path:
        tool = ['bash', ROOT / 'tools/dist_train.sh', 'tiny.py', str(processes)]
        if processes == 1:
            tool = [sys.executable, '-W', 'ignore', ROOT / 'tools/train.py', 'tiny.py']
        changes = [f'train_cfg.max_epochs={epochs}', 'train_cfg.val_interval=9']
        changes.append('train_dataloader.dataset.pipeline.2.scale=(96,64)')
        command = [*map(str, tool), '--work-dir', folder, *options, '--cfg-options', *changes]
        result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
        return tmp_path / folder / f'epoch_{epochs}.pth'

    return train


def test_a_run_leaves_a_detector_that_plain_mmdetection_loads(train, tmp_path):
    file = str(train(1, 'run').with_name('student_epoch_1.pth'))
    assert run_without_tas_mm(PLAIN.format(file=file), tmp_path).strip().splitlines()[-1] == 'FasterRCNN 80'


def test_a_resumed_run_of_two_processes_is_the_uninterrupted_one(train, tmp_path):
    whole = torch.load(train(2, 'whole', epochs=2), weights_only=False)
    train(2, 'parts', epochs=1)
    resumed = torch.load(train(2, 'parts', '--resume', epochs=2), weights_only=False)
    assert resumed['meta']['iter'] == whole['meta']['iter'] == 2
    assert len(whole['meta']['teacher']) == 16  # its fingerprint
    assert not any('teacher' in name for name in whole['state_dict'])
    assert all(torch.equal(resumed['state_dict'][name], value) for name, value in whole['state_dict'].items())
