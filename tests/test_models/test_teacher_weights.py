"""A teacher keeps the weights it comes with."""

import torch

from tas_mm.models.teachers import build_teacher
from tas_mm.recipes.sources import build_classifier


def same(a, b):
    return all(torch.equal(value, b[key]) for key, value in a.items())


def test_built_teacher_keeps_its_weights():
    teacher = build_classifier('timm:test_vit', 10)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    assert same(build_teacher(teacher).state_dict(), before)


def test_timm_teacher_keeps_the_weights_it_loads(tmp_path):
    source = build_classifier('timm:test_vit', 10)
    path = tmp_path / 'weights.pth'
    torch.save(source.model.state_dict(), path)
    config = dict(
        type='TimmClassifier',
        model_name='test_vit',
        num_classes=10,
        checkpoint_path=str(path),
        _scope_='mmpretrain',
    )
    assert same(build_teacher(config).state_dict(), source.state_dict())
