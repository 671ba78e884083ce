"""Stage views: where a network is cut, and that what runs after the cut is what the network itself does."""

import pytest
import torch

from tas_mm.models.stages import Observer, TracedView, cut_blocks, register_cut, register_view, registry, view_of
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


def observe(view, images):
    """Run the whole network and return what an observer saw, and its logits."""
    observer = Observer(view, stages=(1, 2, 3, 4))
    with torch.no_grad():
        seen, logits = observer(view.run, images)
    observer.remove()
    return seen, logits


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('start', [2, 3, 4, 5])
def test_tail_equals_the_whole_network(build, name, start):
    view = view_of(build(NETWORKS[name]()).eval(), (SIZE, SIZE))
    seen, logits = observe(view, torch.randn(2, 3, SIZE, SIZE))
    with torch.no_grad():
        feature, tail_logits = view.tail(seen.stages[start - 1], start)
    torch.testing.assert_close(tail_logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(seen.logits, logits, rtol=0, atol=0)
    torch.testing.assert_close(feature, seen.feature, rtol=1e-5, atol=1e-6)
    assert feature.shape == (2, view.feature_dim)
    assert tail_logits.shape == (2, view.num_classes)


@pytest.mark.parametrize('name', NETWORKS)
def test_maps_have_the_measured_shape_and_survive_the_way_back(build, name):
    view = view_of(build(NETWORKS[name]()).eval(), (SIZE, SIZE))
    seen, _ = observe(view, torch.randn(2, 3, SIZE, SIZE))
    for i, stage in enumerate(view.stages, 1):
        x = seen.map(i)
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
    view, x = view_of(model), torch.randn(2, 32, 4, 4)
    tokens = view.from_map(x, 3)
    assert tokens.shape == (2, 17, 32)
    assert torch.equal(tokens[:, 0], model.backbone.cls_token[0].expand(2, -1))
    tokens = view.from_map(x, 3, class_token='mean')
    torch.testing.assert_close(tokens[:, 0], x.mean((2, 3)))


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
        ValueError, match=r'model.teacher.backbone: no stage view for mmpretrain.ResNot. Closest names: .*All: '
    ):
        view_of(model, key='model.teacher')


def test_image_size_that_does_not_fit_names_the_config_key(build):
    model = build(networks.swin(window_size=7))
    with pytest.raises(ValueError, match=r'model.architecture: images of 64x64 do not fit.*model.distiller.input_size'):
        view_of(model, (64, 64), 'model.architecture').stages  # noqa: B018


@pytest.fixture
def own(build, monkeypatch):
    """A classifier whose backbone is a class that nothing is known of; what it registers is forgotten afterwards."""
    from mmpretrain.models.backbones import ResNet

    class MyBackbone(ResNet):
        pass

    MyBackbone.__module__ = 'my_package.nets'
    monkeypatch.setattr(registry, '_KNOWN', dict(registry._KNOWN))
    model = build(networks.resnet()).eval()
    model.backbone.__class__ = MyBackbone
    return model


def stages_of_two(net):
    return [['conv1', 'layer1.0'], ['layer1.1', 'layer2'], 'layer3.0', 'layer3.1 layer4']


@pytest.mark.parametrize(
    ('stages', 'ends'),
    [
        (['layer1', 'layer2', 'layer3', 'layer4'], ['layer1', 'layer2', 'layer3', 'layer4']),
        ('layer1 | layer2.0 | layer2.1 layer3 | layer4', ['layer1', 'layer2.0', 'layer3', 'layer4']),
        (stages_of_two, ['layer1.0', 'layer2', 'layer3.0', 'layer4']),
    ],
)
def test_a_backbone_of_ones_own_takes_one_call(own, stages, ends):
    """The recipe of docs/own_backbone.md."""
    register_cut('my_package.MyBackbone', stages, family='mlp', size=lambda net: (SIZE, SIZE))
    view = view_of(own)
    assert [stage.source for stage in view.stages] == [f'backbone.{end}' for end in ends]
    assert (view.family, view.input_size) == ('mlp', (SIZE, SIZE))
    assert max(view.check_tail(start) for start in (2, 3, 4, 5)) == 0


def test_a_cut_without_a_family_looks_at_the_names_of_the_modules(own):
    register_cut('my_package.MyBackbone', ['layer1', 'layer2', 'layer3', 'layer4'], family=None)
    assert view_of(own, (SIZE, SIZE)).family == 'cnn'


def test_a_list_of_equal_blocks_is_cut_by_its_name(own):
    register_cut('my_package.MyBackbone', 'layer1.*', family='cnn')
    with pytest.raises(ValueError, match='model.backbone: 2 blocks cannot be cut into 4 stages'):
        view_of(own)


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match=r"'my.Net'\): unknown family 'rnn'. Expected one of cnn, attention, mlp"):
        register_cut('my.Net', 'a | b | c | d', family='rnn')


def test_a_cut_of_three_stages_is_refused(own):
    register_cut('my_package.MyBackbone', ['layer1', 'layer2', 'layer3'], family='cnn')
    with pytest.raises(ValueError, match='model.teacher.backbone: this MyBackbone has 3 stages, but 4'):
        view_of(own, key='model.teacher')


def test_a_view_of_ones_own_is_a_class(own):
    @register_view('my_package.MyBackbone')
    class MyView(TracedView):
        family = 'cnn'

        def cut(self):
            return [['layer1'], ['layer2'], ['layer3'], ['layer4']]

    view = view_of(own, (SIZE, SIZE))
    assert isinstance(view, MyView)
    assert [stage.channels for stage in view.stages] == [16, 32, 64, 128]
    assert view.check_tail() == 0


def test_a_head_that_never_calls_its_classifier_is_refused(build):
    model = build(networks.resnet())
    head = model.head
    head.forward = lambda feats: torch.nn.functional.linear(feats[-1], head.fc.weight, head.fc.bias)
    with pytest.raises(
        ValueError, match='model.head: LinearClsHead never calls head.fc, whose input would be the feat'
    ):
        view_of(model, (SIZE, SIZE)).stages  # noqa: B018
