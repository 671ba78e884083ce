"""Checks of every detector that starts from a student, whichever folder its config is in."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from tas_mm.config import named_model, read_config, without_weights
from tas_mm.models.teachers.build import teacher_config
from tas_mm.student import student_checkpoint, student_config, student_model
from tas_mm.student.export import export
from tests.detection.data import build_detector


def check_step(path: Path) -> None:
    """A detector builds, and a step gives every trained parameter a finite gradient."""
    logs = train_step(without_weights(read_config(str(path)).model.to_dict()), masks='mask' in path.stem)
    assert {'loss_cls', 'loss_bbox'} < logs.keys()
    assert ('loss_mask' in logs) == ('mask' in path.stem)


def check_distillation(path: Path) -> None:
    """A distillation inside a detector builds, without weights, and takes a step with a loss on each path."""
    model = without_weights(read_config(str(path)).model.to_dict())
    teacher = without_weights(named_model(teacher_config(model['teacher'])))
    if 'num_queries' in model['architecture']:
        model['architecture']['num_queries'] = 100  # a small image has few locations to choose from
    logs = train_step(dict(model, teacher=teacher, teacher_ckpt=None), masks='mask' in path.stem)
    assert {'student.loss_cls', 'student.loss_bbox'} < logs.keys()
    assert any(name.startswith('distill.') for name in logs)


def train_step(model: dict, masks: bool) -> dict:
    """Build a model, and return the losses of a step that gives every trained parameter a finite gradient."""
    from mmdet.testing import demo_mm_inputs

    detector = build_detector(model).train()
    detector.init_weights()  # DETR-like detectors leave memory as it was until then
    data = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]], num_items=[2, 3], num_classes=2, with_mask=masks)
    for sample in data['data_samples']:
        sample.gt_instances.labels.zero_()  # some have one class alone
    data = detector.data_preprocessor(data, training=True)
    loss, logs = detector.parse_losses(detector(**data, mode='loss'))
    loss.backward()
    trained = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []  # DDP would stop
    assert all(torch.isfinite(p.grad).all() for p in trained.values())
    return logs


def check_start(path: Path, runs: list[Path]) -> None:
    """The checkpoint that a detector starts from is what a distillation leaves."""
    file, run = Path(read_config(str(path)).model.backbone.init_cfg.checkpoint), source_of(path, runs)
    assert 'architecture' in run.model
    loop = run.train_cfg
    end = f'iter_{loop.max_iters}' if 'max_iters' in loop else f'epoch_{loop.max_epochs}'
    assert file.name == f'student_{end}.pth'


def check_backbone(path: Path, runs: list[Path], folder: Path) -> None:
    """MMDetection's networks name weights as MMPretrain's do: all arrive, and the features are the same."""
    config = read_config(str(path))
    exported = student_config(source_of(path, runs))
    student = built_student(exported)
    checkpoint = student_checkpoint(dict(state_dict=student.state_dict()), exported)
    data, _ = export(checkpoint, 'backbone', (224, 224))
    (folder / 'backbone.pth').write_bytes(data)
    config.model.backbone.init_cfg.checkpoint = str(folder / 'backbone.pth')
    backbone = build_detector(config.model.backbone.to_dict())
    backbone.init_weights()
    loaded = backbone.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in student.backbone.state_dict().items())
    # At 224 the last map of a Swin is one window, which MMPretrain does not shift, and MMDetection does.
    images = torch.randn(1, 3, 448, 448)
    backbone.eval(), student.eval()
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[-1], student.backbone(images)[-1])


def source_of(path: Path, runs: list[Path]) -> Config:
    """The config of the run that makes the checkpoint from which a detector starts."""
    name = Path(read_config(str(path)).model.backbone.init_cfg.checkpoint).parent.name
    return Config.fromfile(next(run for run in runs if run.stem == name))


def built_student(exported: Config) -> torch.nn.Module:
    """A student with random weights."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        student = MODELS.build(student_model(exported))
        student.init_weights()
    return student
