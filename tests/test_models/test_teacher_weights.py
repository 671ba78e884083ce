"""A teacher keeps the weights it comes with."""

import pytest
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from tas_mm.models.teachers import build_teacher
from tas_mm.recipes.sources import build_classifier, find_network
from tas_mm.recipes.weights import own_weights


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


@pytest.mark.parametrize('prefix', ['', 'model.'], ids=["timm's file", "MMEngine's file"])
def test_timm_teacher_of_another_size_loads_as_timm_does(tmp_path, prefix):
    """Tables of positions are resized, and what only DINOv2's authors save is left out."""
    source = timm.create_model('test_vit', num_classes=0)
    path = tmp_path / 'weights.pth'
    extra = {} if prefix else dict(mask_token=torch.zeros(1, 64))
    torch.save({f'{prefix}{name}': value for name, value in source.state_dict().items()} | extra, path)
    config = dict(type='TimmClassifier', model_name='test_vit', num_classes=0, img_size=96, _scope_='mmpretrain')
    teacher = build_teacher(config, str(path)).eval()
    expected = timm.create_model('test_vit', num_classes=0, img_size=96).eval()
    expected.load_state_dict(checkpoint_filter_fn(source.state_dict(), expected))
    assert expected.pos_embed.shape != source.pos_embed.shape
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(teacher.model(images), expected(images), rtol=0, atol=0)


@pytest.mark.parametrize('form', [lambda w: w, lambda w: dict(ema={f'module.{name}': x for name, x in w.items()})])
def test_weights_of_another_size_keep_their_head(tmp_path, form):
    """In any form of file, and under names that a plain config loads."""
    source = timm.create_model('test_vit', num_classes=10)
    torch.save(form(source.state_dict()), tmp_path / 'weights.pth')
    for classes, fits in ((10, True), (7, False)):
        network = find_network('timm:test_vit', classes, size=96)
        weights, found = own_weights(network, str(tmp_path / 'weights.pth'))
        assert found == fits == ('head.weight' in weights)
        assert same({'': weights['blocks.0.attn.qkv.weight']}, {'': source.blocks[0].attn.qkv.weight})


def test_mmpretrain_weights_of_another_size_keep_their_head(tmp_path):
    name = 'mmpretrain:deit-tiny_4xb256_in1k'
    weights = find_network(name, 10, size=64).view.model.state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    assert own_weights(find_network(name, 10, size=96), str(tmp_path / 'weights.pth'))[1]
    assert not own_weights(find_network(name, 7, size=96), str(tmp_path / 'weights.pth'))[1]
