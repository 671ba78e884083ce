"""Detectors that start from a distilled student: every config builds, starts from the right weights, and takes a step.

``make test-detection`` runs these; MMDetection and mmcv's compiled operators are imported only then.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from tas_mm.config import read_config, without_weights
from tas_mm.export import export
from tas_mm.student import student_checkpoint, student_config, student_model
from tests.detection.data import build_detector, coco

pytestmark = pytest.mark.detection
ROOT = Path(__file__).parents[2]
CONFIGS = [path for path in sorted(ROOT.glob('configs/detection/*.py')) if not path.stem.startswith('tas_')]
STARTING = [path for path in CONFIGS if not path.stem.endswith('_scratch')]
STARTS = [path for path in STARTING if not path.stem.endswith('_alone')]
TEACHERS = sorted(ROOT.glob('configs/detection/teachers/*.py'))


def source(config: Config) -> Path:
    """The config of the run that makes the checkpoint from which a detector starts."""
    run = Path(config.model.backbone.init_cfg.checkpoint).parent.name
    return next(path for path in ROOT.glob('configs/*/*.py') if path.stem == run)


@pytest.mark.parametrize('path', CONFIGS + TEACHERS, ids=lambda path: path.stem)
def test_a_detector_builds_and_takes_a_step(path):
    from mmdet.testing import demo_mm_inputs

    detector = build_detector(without_weights(read_config(str(path)).model.to_dict())).train()
    masks = 'mask' in path.stem
    data = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]], num_items=[2, 3], num_classes=2, with_mask=masks)
    for sample in data['data_samples']:
        sample.gt_instances.labels.zero_()  # some have one class alone
    data = detector.data_preprocessor(data, training=True)
    loss, logs = detector.parse_losses(detector(**data, mode='loss'))
    loss.backward()
    assert {'loss_cls', 'loss_bbox'} < logs.keys()
    assert ('loss_mask' in logs) == masks
    trained = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []  # DDP would stop
    assert all(torch.isfinite(p.grad).all() for p in trained.values())


@pytest.mark.parametrize('path', STARTING, ids=lambda path: path.stem)
def test_the_checkpoint_that_it_starts_from_is_what_its_run_leaves(path):
    config = read_config(str(path))
    file = Path(config.model.backbone.init_cfg.checkpoint)
    run = Config.fromfile(source(config))
    distilled = 'architecture' in run.model
    assert distilled != path.stem.endswith('_alone')
    assert file.name == f'{"student_" if distilled else ""}epoch_{run.train_cfg.max_epochs}.pth'


@pytest.mark.parametrize('path', STARTS, ids=lambda path: path.stem)
def test_its_backbone_is_the_students(path, tmp_path):
    """MMDetection's networks carry the names of MMPretrain's: every weight arrives, and the features are the same."""
    config = read_config(str(path))
    exported = student_config(Config.fromfile(source(config)))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        student = MODELS.build(student_model(exported))
        student.init_weights()
    checkpoint = student_checkpoint(dict(state_dict=student.state_dict()), exported)
    data, _ = export(checkpoint, 'backbone', (224, 224))
    (tmp_path / 'backbone.pth').write_bytes(data)
    config.model.backbone.init_cfg.checkpoint = str(tmp_path / 'backbone.pth')
    backbone = build_detector(config.model.backbone.to_dict())
    backbone.init_weights()
    loaded = backbone.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in student.backbone.state_dict().items())
    # At 224 the last map of a Swin is one window, which MMPretrain does not shift, and MMDetection does.
    images = torch.randn(1, 3, 448, 448)
    backbone.eval(), student.eval()
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[-1], student.backbone(images)[-1])


def test_transfer_trains_and_tests_both_and_prints_their_map(tmp_path):
    coco(tmp_path / 'data' / 'coco')
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    run = Config.fromfile(ROOT / 'configs/baselines/alone_r18.py')
    exported = student_config(run)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        student = MODELS.build(student_model(exported))
        student.init_weights()
    torch.save(student_checkpoint(dict(state_dict=student.state_dict()), exported), tmp_path / 'student.pth')
    command = ['tools/transfer_detection.sh', 'student.pth', 'configs/detection/retinanet_r18.py', '1']
    command += ['model.test_cfg.score_thr=0.0']  # so little training finds no box otherwise
    command += ['train_cfg.max_epochs=1', 'train_dataloader.dataset.pipeline.2.scale=(96,64)']
    command += [f'{split}_dataloader.dataset.pipeline.1.scale=(96,64)' for split in ('val', 'test')]
    for split in ('train', 'val', 'test'):
        command += [f'{split}_dataloader.num_workers=0', f'{split}_dataloader.persistent_workers=False']
    env = dict(
        os.environ, PYTHON=sys.executable, ALONE='student.pth', OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT), PORT='29517'
    )
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    found = re.findall(
        r'^(retinanet_r18(?:_alone)?): bbox_mAP ([\d.]+), bbox_mAP_50 [\d.]+$', result.stdout, flags=re.MULTILINE
    )
    assert [name for name, _ in found] == ['retinanet_r18', 'retinanet_r18_alone']
    checkpoints = [f'work_dirs/{name}/epoch_1.pth' for name in ('retinanet_r18', 'retinanet_r18_alone')]
    command = [sys.executable, 'tools/visualize.py', 'detections', 'configs/detection/retinanet_r18.py', *checkpoints]
    result = subprocess.run([*command, '--images', '2', '--out', 'out'], cwd=tmp_path, env=env, capture_output=True)
    assert result.returncode == 0, result.stderr[-3000:]
    with Image.open(tmp_path / 'out' / 'detections.png') as picture:
        assert picture.width > picture.height / 2
