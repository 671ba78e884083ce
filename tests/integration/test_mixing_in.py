"""Distillation mixed into an MMPretrain config that knows nothing of tas_mm, run by MMPretrain's own tools."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from sklearn.datasets import load_digits

from tests.networks import samples
from tests.plain import run_without_tas_mm

TOOLS = Path(mmpretrain.__file__).parent / '.mim' / 'tools'

THEIRS = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
data_preprocessor = dict(num_classes=10, mean=[78.0] * 3, std=[95.7] * 3)
load = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32)]
train_pipeline = [*load, dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
test_pipeline = [*load, dict(type='PackInputs')]
digits = dict(type='CustomDataset', data_root='{folder}/digits')
train_dataloader = dict(
    batch_size=12,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**digits, pipeline=train_pipeline),
    sampler=dict(type='RepeatAugSampler', num_repeats=3),
)
val_dataloader = dict(
    batch_size=60,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**digits, pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
log_level = 'WARNING'
"""
OURS = """
_base_ = 'theirs.py'
custom_imports = dict(imports=['tas_mm'])
model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=_base_.model,
    teacher=dict(type='TimmClassifier', model_name='test_vit', num_classes=10, img_size=32),
    distiller=dict(type='tas_mm.TASDistiller', input_size=32),
)
custom_hooks = [dict(type='tas_mm.ExportStudentHook')]
"""


@pytest.fixture
def configs(tmp_path):
    """Sixty digits as files in folders, a config for MMPretrain alone, and one that builds on it."""
    digits = load_digits()
    for i in range(60):
        folder = tmp_path / 'digits' / str(digits.target[i])
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f'{i}.png'), digits.images[i] * 16)
    (tmp_path / 'theirs.py').write_text(THEIRS.replace('{folder}', str(tmp_path)))
    (tmp_path / 'ours.py').write_text(OURS)
    return tmp_path


def run(folder, *command):
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *command], cwd=folder, capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]


PLAIN = """
sys.argv = {argv}
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.long
def test_mmpretrains_own_tools_train_it_and_test_its_student_without_tas_mm(configs):
    """With mixup and cutmix, repeated augmentation, and views of each image in the test (flips, averaged)."""
    run(configs, str(TOOLS / 'train.py'), 'ours.py', '--work-dir', 'run')
    lines = [json.loads(line) for line in next((configs / 'run').glob('*/vis_data/scalars.json')).open()]
    assert {'accuracy/top1', 'step'} <= lines[-1].keys()
    for views in ([], ['--tta']):
        argv = [str(TOOLS / 'test.py'), 'theirs.py', 'run/student_epoch_2.pth', '--out', 'metrics.json']
        run_without_tas_mm(PLAIN.format(argv=[*argv, '--out-item', 'metrics', *views]), configs)
        tested = json.loads((configs / 'metrics.json').read_text())['accuracy/top1']
        assert 0 <= tested <= 100
        assert views or tested == pytest.approx(lines[-1]['accuracy/top1'], abs=1e-3)


@pytest.mark.parametrize('augment', ['Mixup', 'CutMix', 'ResizeMix'])
def test_teacher_and_student_see_the_same_mixed_images_and_soft_labels(configs, augment):
    from tas_mm.analysis.trial import build_model

    config = Config.fromfile(configs / 'ours.py')
    config.model.architecture.train_cfg.augments = [dict(type=augment, alpha=1.0)]
    config.model.teacher.data_preprocessor = dict(mean=[10.0] * 3, std=[20.0] * 3)
    algorithm = build_model(config)
    seen = {}

    def see(role):
        return lambda module, inputs: seen.setdefault(role, inputs[0].clone())  # the assistant runs the teacher again

    algorithm.student.backbone.register_forward_pre_hook(see('student'))
    algorithm.teacher.network.model.register_forward_pre_hook(see('teacher'))
    loss = algorithm.student.head.loss_module
    loss.register_forward_pre_hook(lambda module, inputs: seen.update(labels=inputs[1]))
    ofa = algorithm.distiller.distill_losses.loss_ts_kd
    ofa.register_forward_pre_hook(lambda module, args, kwargs: seen.update(hard=kwargs['gt_labels']), with_kwargs=True)
    np.random.seed(0)  # of the share and the place of what is mixed in
    images = torch.randint(0, 256, (8, 3, 32, 32))
    data = algorithm.data_preprocessor(dict(inputs=images, data_samples=samples(range(8))), training=True)
    algorithm(**data, mode='loss')
    pixels = seen['student'] * 95.7 + 78.0
    torch.testing.assert_close(seen['teacher'] * 20.0 + 10.0, pixels, atol=1e-3, rtol=1e-5)
    assert (pixels - images).abs().max() > 1  # mixed they are
    torch.testing.assert_close(seen['labels'].sum(dim=1), torch.ones(8))
    assert torch.equal(seen['hard'], seen['labels'].argmax(dim=1))
