"""Stage views: where a network is cut, and that what runs after the cut is what the network itself does."""

import pytest
import torch
from mmengine.registry import DefaultScope
from mmrazor.models.task_modules import RecorderManager

from tas_mm.models import stage_view, view_of
from tas_mm.models.stages.base import StagedClassifier
from tas_mm.models.stages.tokens import cut_blocks
from tests import networks
from tests.networks import SIZE

NETWORKS = {
    'resnet': networks.resnet,
    'resnet_cifar': networks.resnet_cifar,
    'mobilenet': networks.mobilenet,
    'swin': networks.swin,
    'vit': networks.vit,
    'vit_featmap': lambda: networks.vit('featmap'),
    'vit_avg': lambda: networks.vit('avg_featmap', with_cls_token=False),
}


def record(view, images):
    """Run the whole network and return what the view's recorders saw."""
    recorders = {name: cfg for name, cfg in view.recorders.items() if name != 'gt_labels'}
    with DefaultScope.overwrite_default_scope('mmrazor'):
        manager = RecorderManager(recorders)
    manager.initialize(view.model)
    with manager, torch.no_grad():
        logits = view.model(images, mode='tensor')
    return {name: manager.get_recorder(name).get_record_data() for name in recorders}, logits


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('start', [2, 3, 4, 5])
def test_tail_equals_the_whole_network(build, name, start):
    view = view_of(build(NETWORKS[name]()).eval(), (SIZE, SIZE))
    records, logits = record(view, torch.randn(2, 3, SIZE, SIZE))
    with torch.no_grad():
        feature, tail_logits = view.tail(records[f'stage{start - 1}'], start)
    torch.testing.assert_close(tail_logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(records['logits'], logits, rtol=0, atol=0)
    torch.testing.assert_close(feature, records['feature'][0], rtol=1e-5, atol=1e-6)
    assert feature.shape == (2, view.feature_dim)
    assert tail_logits.shape == (2, view.num_classes)


@pytest.mark.parametrize('name', NETWORKS)
def test_maps_have_the_measured_shape_and_survive_the_way_back(build, name):
    view = view_of(build(NETWORKS[name]()).eval(), (SIZE, SIZE))
    records, _ = record(view, torch.randn(2, 3, SIZE, SIZE))
    for i, stage in enumerate(view.stages, 1):
        x = view.to_map(records[f'stage{i}'], i)
        assert x.shape == (2, stage.channels, *stage.grid)
        assert torch.equal(view.to_map(view.from_map(x, i), i), x)


def test_the_cut_is_the_papers(build):
    grids = {name: [s.grid[0] for s in view_of(build(NETWORKS[name]()), (SIZE, SIZE)).stages] for name in NETWORKS}
    assert grids['resnet'] == grids['mobilenet'] == [16, 8, 4, 2]
    assert grids['resnet_cifar'] == [64, 32, 16, 8]
    assert grids['swin'] == [8, 4, 2, 2]  # stages 1 to 3 end with their patch merging
    assert grids['vit'] == [4, 4, 4, 4]
    assert [len(blocks) for blocks in cut_blocks(12)] == [2, 2, 6, 2]  # as OFA-KD cuts ViT, DeiT and Mixer
    assert [len(blocks) for blocks in cut_blocks(24)] == [4, 4, 12, 4]
    assert [len(blocks) for blocks in cut_blocks(4)] == [1, 1, 1, 1]
    with pytest.raises(ValueError, match='3 blocks'):
        cut_blocks(3)


def test_fresh_class_token_for_a_late_part(build):
    model = build(networks.vit()).eval()
    torch.nn.init.normal_(model.backbone.cls_token)
    tokens = view_of(model).from_map(torch.zeros(2, 32, 4, 4), 3)
    assert tokens.shape == (2, 17, 32)
    assert torch.equal(tokens[:, 0], model.backbone.cls_token[0].expand(2, -1))


def test_measuring_leaves_the_network_as_it_was(build):
    model = build(networks.resnet()).train()
    model.backbone.layer1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    view_of(model, (SIZE, SIZE)).stages  # noqa: B018
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.training
    assert not model.backbone.layer1.training
    assert not any(m._forward_hooks for m in model.modules())


def test_unknown_backbone_is_refused_with_the_nearest_that_are_known(build):
    class ResNot(torch.nn.Module):
        __module__ = 'mmpretrain.nets'

    model = build(networks.resnet())
    model.backbone = ResNot()
    with pytest.raises(
        ValueError, match=r'model.teacher.backbone: no stage view for mmpretrain.ResNot. Nearest .*All: '
    ):
        view_of(model, key='model.teacher')


def test_image_size_that_does_not_fit_names_the_config_key(build):
    model = build(networks.swin(window_size=7))
    with pytest.raises(ValueError, match=r'model.architecture: images of 64x64 do not fit.*model.distiller.input_size'):
        view_of(model, (64, 64), 'model.architecture').stages  # noqa: B018


def test_a_view_of_ones_own_takes_one_small_class(build):
    """The recipe of docs/own_backbone.md."""
    from mmpretrain.models.backbones import ResNet

    class MyBackbone(ResNet):
        pass

    MyBackbone.__module__ = 'my_package.nets'

    @stage_view('my_package.MyBackbone')
    class MyStages(StagedClassifier):
        family = 'cnn'

        def cut(self):
            return [['layer1'], ['layer2'], ['layer3'], ['layer4']]

    model = build(networks.resnet())
    model.backbone.__class__ = MyBackbone
    view = view_of(model, (SIZE, SIZE))
    assert isinstance(view, MyStages)
    assert [stage.channels for stage in view.stages] == [16, 32, 64, 128]
