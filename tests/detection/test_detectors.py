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

from tas_mm.student import student_checkpoint, student_config
from tests.detection.checks import built_student, check_backbone, check_distillation, check_start, check_step
from tests.detection.data import coco

pytestmark = pytest.mark.detection
ROOT = Path(__file__).parents[2]
STARTS = [path for path in sorted(ROOT.glob('configs/detection/*.py')) if not path.stem.startswith('tas_')]
TEACHERS = sorted(ROOT.glob('configs/detection/teachers/*.py'))
DISTILLATIONS = sorted(ROOT.glob('configs/detection/tas_*.py'))
RUNS = sorted(ROOT.glob('configs/tas/*.py'))


@pytest.mark.parametrize('path', STARTS + TEACHERS, ids=lambda path: path.stem)
def test_a_detector_builds_and_takes_a_step(path):
    check_step(path)


@pytest.mark.parametrize('path', DISTILLATIONS, ids=lambda path: path.stem)
def test_a_distillation_inside_a_detector_builds_and_takes_a_step(path):
    check_distillation(path)


@pytest.mark.parametrize('path', STARTS, ids=lambda path: path.stem)
def test_the_checkpoint_that_it_starts_from_is_what_its_run_leaves(path):
    check_start(path, RUNS)


@pytest.mark.parametrize('path', STARTS, ids=lambda path: path.stem)
def test_its_backbone_is_the_students(path, tmp_path):
    check_backbone(path, RUNS, tmp_path)


def test_transfer_trains_and_tests_both_and_prints_their_map(tmp_path):
    coco(tmp_path / 'data' / 'coco')
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    exported = student_config(Config.fromfile(ROOT / 'configs/tas/swin_to_r18.py'))
    weights = built_student(exported).state_dict()
    torch.save(student_checkpoint(dict(state_dict=weights), exported), tmp_path / 'student.pth')
    command = [sys.executable, 'tools/transfer_detection.py', 'student.pth', 'configs/detection/retinanet_r18.py', '1']
    command += ['--alone', 'student.pth', '--cfg-options']
    command += ['model.test_cfg.score_thr=0.0']  # so little training finds no box otherwise
    command += ['train_cfg.max_epochs=1', 'train_dataloader.dataset.pipeline.2.scale=(96,64)']
    command += [f'{split}_dataloader.dataset.pipeline.1.scale=(96,64)' for split in ('val', 'test')]
    for split in ('train', 'val', 'test'):
        command += [f'{split}_dataloader.num_workers=0', f'{split}_dataloader.persistent_workers=False']
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    found = re.findall(
        r'^(retinanet_r18(?:_alone)?): bbox_mAP ([\d.]+), bbox_mAP_50 [\d.]+$', result.stdout, flags=re.MULTILINE
    )
    assert [name for name, _ in found] == ['retinanet_r18', 'retinanet_r18_alone']
