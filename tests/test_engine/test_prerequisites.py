"""Everything that a run needs is looked for before anything is built, and each missing thing is one line."""

import os
import runpy
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tas_mm.config import read_config
from tas_mm.engine.prerequisites import missing, require
from tas_mm.models.sources import places, weights_read

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No server answers, nothing is cached, and the folder is empty."""

    def unreachable(*args, **kwargs):
        raise places.URLError(OSError(-2, 'Name or service not known'))

    places.why_unreachable.cache_clear()
    monkeypatch.setattr(places, 'urlopen', unreachable)
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'huggingface'))
    monkeypatch.chdir(tmp_path)
    for name in ('RANK', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)


def config(**parts):
    return Config(dict(dict(default_scope='mmpretrain', work_dir='runs'), **parts))


def folders(path: Path, number: int) -> str:
    for i in range(number):
        (path / f'class{i}').mkdir(parents=True)
    return str(path)


def test_the_first_config_of_the_readme_names_weights_and_both_sets_of_data(tmp_path):
    cfg = read_config(str(ROOT / 'configs/tas/swin_to_r18.py'))
    cfg.work_dir = 'runs'
    weights, train, val = missing(cfg)
    assert weights.startswith('model.teacher.pretrained: https://')
    assert str(tmp_path / 'hub/checkpoints/swin_tiny_') in weights
    assert 'cannot be fetched (Name or service not known)' in weights
    assert weights.endswith('or set model.teacher_ckpt to a file')
    for line, part in ((train, 'train'), (val, 'val')):
        assert line == (
            f"{part}_dataloader.dataset: 'data/imagenet/{part}' does not exist (looked for "
            f'{tmp_path}/data/imagenet/{part}). Put the data there, or set data_root and data_prefix of ImageNet'
        )


def test_a_cached_file_and_a_checkpoint_are_enough(tmp_path):
    model = dict(teacher=dict(cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py', pretrained=True))
    (line,) = missing(config(model=model))
    cached = Path(line.split('looked for ')[1].split(')')[0])
    Path('own.pth').touch()
    assert not [*missing(config(model=dict(model, teacher_ckpt='own.pth')))]
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert not [*missing(config(model=model))]


def test_each_of_several_teachers_is_looked_at():
    teachers = ['resnet18_8xb16_cifar10', dict(type='ImageClassifier')]
    first, second = missing(config(model=dict(teacher=teachers, teacher_ckpt=[None, 'lost.pth'])))
    assert first.startswith('model.teacher[0]: https://')
    assert second.startswith("model.teacher_ckpt[1]: 'lost.pth' does not exist")


def test_libraries_say_where_their_weights_are():
    timm = dict(type='TimmClassifier', model_name='resnet18.a1_in1k', pretrained=True)
    backbone = dict(type='ImageClassifier', backbone=dict(type='TIMMBackbone', model_name='resnet18.a1_in1k'))
    hugging = dict(type='mmpretrain.HuggingFaceClassifier', model_name='some/net', pretrained=True)
    ours = dict(backbone=dict(init_cfg=[dict(type='Pretrained', checkpoint='torchvision://resnet18')]))
    headless = dict(type='tas_mm.HuggingFaceBackbone', model_name='some/net')
    read = [dict(weights_read(model, 'model')) for model in (timm, backbone, hugging, headless, ours)]
    assert read == [
        {'model.pretrained': 'hf-hub:timm/resnet18.a1_in1k'},
        {},
        {'model.model_name': 'hf-hub:some/net#config.json', 'model.pretrained': 'hf-hub:some/net'},
        {'model.model_name': 'hf-hub:some/net#config.json'},
        {'model.backbone.init_cfg[0].checkpoint': 'torchvision://resnet18'},
    ]
    for place in ('hf-hub:timm/resnet18.a1_in1k', 'hf-hub:some/net#config.json', 'torchvision://resnet18'):
        assert 'cannot be fetched (Name or service not known)' in places.why_missing(place)


def test_a_server_that_answers_is_enough_unless_the_file_is_not_there(monkeypatch):
    monkeypatch.setattr(places, 'urlopen', lambda *args, **kwargs: nullcontext())
    assert places.why_missing('https://example.org/a.pth') is None

    def gone(*args, **kwargs):
        raise places.HTTPError('', 404, 'Not Found', None, None)

    monkeypatch.setattr(places, 'urlopen', gone)
    assert 'HTTP 404 Not Found' in places.why_missing('https://example.org/b.pth')


def test_data_inside_of_wrappers_are_looked_for(tmp_path):
    inner = dict(type='CustomDataset', data_root='d', ann_file='train.txt', data_prefix='images', _scope_='mmpretrain')
    dataset = dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=inner)])
    (tmp_path / 'd' / 'images').mkdir(parents=True)
    (line,) = missing(config(default_scope='tas_mm', train_dataloader=dict(dataset=dataset)))
    assert line == (
        f"train_dataloader.dataset: 'd/train.txt' does not exist (looked for {tmp_path}/d/train.txt). Put the data "
        'there, or set data_root and ann_file of CustomDataset'
    )


def test_a_set_that_downloads_itself_needs_the_network_or_its_files():
    dataset = dict(type='CIFAR10', data_root='c', split='train')
    (line,) = missing(config(train_dataloader=dict(dataset=dataset)))
    assert 'CIFAR10 is not complete in' in line
    assert 'cannot be fetched (Name or service not known)' in line
    (line,) = missing(config(val_dataloader=dict(dataset=dict(dataset, download=False))))
    assert 'cannot be fetched (download=False)' in line


def test_folders_fit_the_classes(tmp_path):
    dataset = dict(type='CustomDataset', data_prefix=folders(tmp_path / 'd', 3))
    model = dict(architecture=dict(type='ImageClassifier', head=dict(num_classes=2)))
    (line,) = missing(config(model=model, train_dataloader=dict(dataset=dataset)))
    assert line.endswith('has 3 folders, one per class, but the student has 2 classes. Set num_classes=3 in its head')
    model['architecture']['head']['num_classes'] = 3
    assert not [*missing(config(model=model, train_dataloader=dict(dataset=dataset)))]
    dataset.update(type='ImageNet')
    (line,) = missing(config(train_dataloader=dict(dataset=dataset)))
    assert line.endswith('has 3 folders. Expected 1000, one for each class of the data set')


def test_a_folder_without_labels_holds_images_in_any_nesting(tmp_path):
    def lines(**probe):
        images = dict(type='CustomDataset', data_root='pool', with_label=False)
        return list(missing(config(train_dataloader=dict(dataset=images), val_cfg=dict(probe=probe))))

    (line,) = lines()
    assert line.startswith(f"train_dataloader.dataset: 'pool/' does not exist (looked for {tmp_path}/pool). Put the")
    (tmp_path / 'pool' / 'a' / 'b').mkdir(parents=True)
    (tmp_path / 'pool' / 'a' / 'notes.txt').touch()
    (line,) = lines()
    assert line.startswith("train_dataloader.dataset: 'pool/' has no image, at any depth. Expected files that end")
    (tmp_path / 'pool' / 'a' / 'b' / 'c.JPG').touch()
    assert lines() == []
    labeled = dict(type='CustomDataset', data_root='labeled')
    assert ["val_cfg.probe.train: 'labeled/' does not exist" in line for line in lines(train=labeled)] == [True]


def test_gpus_and_work_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert not [*missing(config(), processes=2)]
    (line,) = missing(config(), processes=8)
    assert line.startswith('processes: 8 were requested, but this machine has 2 GPUs. Start at most 2 here')
    (tmp_path / 'file').touch()
    (line,) = missing(config(work_dir='file/run'))
    assert line.startswith(f"work_dir: '{tmp_path}/file/run' cannot be written, because of '{tmp_path}/file'")


def test_the_first_process_speaks_and_all_end_with_status_1(monkeypatch, capsys):
    for rank, local, said in (('0', '0', 3), ('1', '1', 0), ('8', '0', 1)):
        monkeypatch.setenv('RANK', rank)
        monkeypatch.setenv('LOCAL_RANK', local)
        with pytest.raises(SystemExit) as end:
            require(
                config(
                    load_from='lost.pth', resume='', train_dataloader=dict(dataset=dict(type='ImageNet', split='val'))
                )
            )
        assert end.value.code == 1
        assert len(capsys.readouterr().err.splitlines()) == said


@pytest.mark.parametrize('options', [[], ['--check-only', '2']])
def test_train_py_stops_before_it_builds(options, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', str(ROOT / 'configs/tas/swin_to_r18.py'), *options])
    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', lambda cfg: pytest.fail('built'))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
    assert end.value.code == 1
    assert len(capsys.readouterr().err.splitlines()) == 4
    assert not os.path.exists('work_dirs')


def test_check_only_builds_nothing_where_all_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', str(ROOT / 'configs/quickstart/student.py'), '--check-only'])
    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', lambda cfg: pytest.fail('built'))
    runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
