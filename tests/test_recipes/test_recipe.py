"""The configs that tools/distill.py writes."""

from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from tas_mm.models import InfoNCELoss
from tas_mm.recipes.data import find_data
from tas_mm.recipes.parts import alone_parts, distill_parts, run_parts
from tas_mm.recipes.recipe import Recipe, head_optimizer, optimizer
from tas_mm.recipes.sources import find_network
from tas_mm.recipes.weights import own_weights
from tas_mm.recipes.writer import Name, write_config


@pytest.fixture(scope='module')
def data():
    return find_data('tas_mm.Digits')


@pytest.fixture(scope='module')
def networks():
    return {name: find_network(f'timm:{name}', 10, 32) for name in ('test_vit', 'test_resnet')}


def test_rates_follow_the_batch():
    rate = lambda family, batch: optimizer(family, batch, amp=False)['optimizer']['lr']  # noqa: E731
    assert (rate('cnn', 512), rate('cnn', 128)) == (0.1, 0.025)  # linearly
    assert (rate('mlp', 1024), rate('attention', 256)) == (2e-3, 1e-3)  # with the square root
    assert optimizer('cnn', 128, amp=True)['type'] == 'AmpOptimWrapper'


@pytest.mark.parametrize('epochs', [1, 2, 7, 20, 100, 101])
def test_a_run_of_any_length_ends_with_a_validation(epochs, data, tmp_path):
    parts = run_parts({}, 'mlp', data, Recipe(epochs, 32, 32, 0, 0), {}, tmp_path)
    settings = {key: value for part in parts.values() for key, value in part.items()}
    assert epochs % settings['train_cfg']['val_interval'] == 0
    assert settings['default_hooks']['checkpoint']['interval'] == settings['train_cfg']['val_interval']


def test_text_reads_back_as_it_was(tmp_path):
    value = dict(a=[1, 2.5, None, 'x' * 100], b={'not a name': (1,), 'other': ('y' * 90, True)}, c=(), d=dict(e=[]))
    path = write_config(tmp_path / 'c.py', {'one': dict(first=value), 'two': dict(second=Name('first'))}, 'Title')
    config = Config.fromfile(path)
    assert config.first.to_dict() == value
    assert config.second == config.first
    assert max(map(len, path.read_text().splitlines())) < 130


def test_a_student_gets_the_recipe_of_its_kind(networks, data, tmp_path):
    vit, resnet = networks['test_vit'], networks['test_resnet']
    for teacher, student, epochs, kind, mixes in (
        (vit, resnet, 100, 'SGD', False),
        (resnet, vit, 100, 'AdamW', True),
        (resnet, vit, 20, 'AdamW', False),  # too short for strong augmentation
    ):
        parts = distill_parts(teacher, {}, student, data, Recipe(epochs, 32, 32, 0, 0), tmp_path)
        config = Config.fromfile(write_config(tmp_path / 'c.py', parts, 'Title'))
        assert config.optim_wrapper.optimizer.type == kind
        assert ('train_cfg' in config.model.architecture) is mixes
        assert any(t['type'] == 'RandAugment' for t in config.train_pipeline) is mixes
        assert config.model.distiller.input_size == (32, 32)


def written(parts, tmp_path):
    return Config.fromfile(write_config(tmp_path / 'written.py', parts, 'Title'))


@pytest.mark.parametrize('to_rgb', [True, False])
def test_each_network_gets_its_own_mean_and_std(networks, data, tmp_path, to_rgb):
    teachers, students = dict(mean=[1.0] * 3, std=[2.0] * 3), dict(mean=[3.0] * 3, std=[4.0] * 3)
    teacher, student = (
        replace(networks[name], normalization=own) for name, own in (('test_vit', teachers), ('test_resnet', students))
    )
    parts = distill_parts(teacher, {}, student, replace(data, to_rgb=to_rgb), Recipe(2, 32, 32, 0, 0), tmp_path)
    config = written(parts, tmp_path)
    for preprocessor, own in ((config.model.teacher.data_preprocessor, teachers), (config.data_preprocessor, students)):
        assert dict(preprocessor) == dict(own, num_classes=10, to_rgb=to_rgb)
    assert 'data_preprocessor' not in config.model.architecture


@pytest.mark.parametrize('epochs', [2, 100])
def test_validation_images_are_not_augmented(networks, data, tmp_path, epochs):
    resnet, vit = networks['test_resnet'], networks['test_vit']
    config = written(distill_parts(resnet, {}, vit, data, Recipe(epochs, 32, 32, 0, 0), tmp_path), tmp_path)
    drawn = {
        key: [t.type for t in config[f'{key}_dataloader'].dataset.pipeline if t.type.startswith('Rand')]
        for key in ('train', 'val', 'test')
    }
    assert (drawn['val'], drawn['test']) == ([], [])
    assert drawn['train'][:2] == ['RandomResizedCrop', 'RandomFlip']


@pytest.mark.parametrize('student', ['test_resnet', 'test_vit'])
def test_labels_are_smoothed_with_the_teacher_and_without(networks, data, tmp_path, student):
    """As torch does it: a tenth of the label is shared among all classes."""
    parts = distill_parts(networks['test_vit'], {}, networks[student], data, Recipe(2, 32, 32, 0, 0), tmp_path)
    logits, labels = torch.randn(4, 10), torch.arange(4)
    for config in (written(parts, tmp_path), written(alone_parts(parts, tmp_path), tmp_path)):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            loss = MODELS.build(config.model.get('architecture', config.model).loss)
        wanted = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
        torch.testing.assert_close(loss(logits, labels), wanted)


@pytest.mark.parametrize('family', ['cnn', 'attention', 'mlp'])
def test_the_scale_of_the_contrast_does_not_decay(family):
    loss = InfoNCELoss(learner_dim=2, target_dim=3)
    groups = build_optim_wrapper(loss, optimizer(family, 32, amp=False)).optimizer.param_groups
    decays = {parameter: group['weight_decay'] for group in groups for parameter in group['params']}
    assert decays[loss.log_scale] == 0 < decays[loss.projection.weight]


def test_fitting_the_head_trains_nothing_else(networks):
    for network, head in ((networks['test_vit'], 'model.head'), (networks['test_resnet'], 'model.fc')):
        model = network.view.model
        wrapper = build_optim_wrapper(model, head_optimizer(network.view, 32, amp=False))
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        wrapper.update_params(model(torch.randn(2, 3, 32, 32)).square().sum())
        changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert changed == {f'{head}.weight', f'{head}.bias'}


def test_a_file_fits_with_its_head_without_or_not(networks, tmp_path):
    network = networks['test_resnet']
    state = network.view.model.state_dict()
    path = str(tmp_path / 'w.pth')
    torch.save(state, path)
    assert own_weights(network, path)[1]
    torch.save({'state_dict': {**state, 'fc.weight': torch.zeros(7, 48), 'fc.bias': torch.zeros(7)}}, path)
    assert not own_weights(network, path)[1]
    torch.save({name: value for name, value in state.items() if 'layer3' not in name}, path)
    with pytest.raises(ValueError, match='--teacher-ckpt .* does not fit timm:test_resnet.*layer3'):
        own_weights(network, path)
    with pytest.raises(ValueError, match='there is no such file'):
        own_weights(network, 'none.pth')


def test_a_tag_of_timm_names_the_weights():
    network = find_network('timm:vit_tiny_patch16_224.augreg_in21k', 10, 32)
    assert network.config['model_name'] == 'vit_tiny_patch16_224.augreg_in21k'
    assert network.view.net.pretrained_cfg['tag'] == 'augreg_in21k'
    assert (network.published.weights, network.published.num_classes) == (dict(pretrained=True), 21843)
    with pytest.raises(ValueError, match=r'--student timm:test_vit.nope: Invalid pretrained tag \(nope\)'):
        find_network('timm:test_vit.nope', 10)


def test_unknown_networks_and_sizes_name_the_option():
    with pytest.raises(ValueError, match='--teacher timm:resnet81.* Closest names: timm:resnet18'):
        find_network('timm:resnet81', 10, option='--teacher')
    with pytest.raises(ValueError, match='--student timm:test_vit with --size 33'):
        find_network('timm:test_vit', 10, 33)
