"""The student leaves home: files that plain MMPretrain, timm, onnxruntime and detectors read without tas_mm."""

import importlib
import io
import json
import re
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path

import onnxruntime
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from tas_mm.registry import DATASETS
from tas_mm.student import (
    build_student,
    components,
    read_student,
    student_checkpoint,
    student_config,
    student_model,
)
from tas_mm.student.export import FORMS, export
from tests import networks
from tests.networks import NUM_CLASSES, SIZE, samples
from tests.plain import run_without_tas_mm

ROOT = Path(__file__).parents[2]
CLASSES = tuple('abcde')
CIFAR = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
IMAGES = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(7))


@DATASETS.register_module()
class EightImages(torch.utils.data.Dataset):
    """Random images with the names of their classes."""

    metainfo = dict(classes=CLASSES)

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return dict(inputs=torch.randn(3, SIZE, SIZE), data_samples=samples([i % NUM_CLASSES])[0])


def timm_backbone() -> dict:
    """A timm network in an ImageClassifier."""
    return networks.classifier(dict(type='TIMMBackbone', model_name='test_resnet'), 96)


def timm_classifier() -> dict:
    """A timm network with its own head."""
    return dict(
        type='TimmClassifier', _scope_='mmpretrain', model_name='test_vit', num_classes=NUM_CLASSES, img_size=SIZE
    )


def small_swin() -> dict:
    """Swin-P, the smallest that tas_mm names."""
    return networks.classifier(dict(type='tas_mm.SwinTransformer', arch='pico', img_size=SIZE, window_size=2), 384)


def vit_with_stem() -> dict:
    """A ViT that cannot do without tas_mm."""
    return networks.vit(patch_cfg=dict(conv_type='tas_mm.ConvStem'))


def run_config(student: dict, **kwargs) -> Config:
    """The config of a distillation."""
    distiller = dict(type='tas_mm.TASDistiller', input_size=SIZE)
    model = dict(type='tas_mm.TAS', architecture=student, teacher=networks.vit(), distiller=distiller)
    return Config(dict(model=model, data_preprocessor=dict(num_classes=NUM_CLASSES, **CIFAR), **kwargs))


def saved(model: nn.Module, config: Config) -> dict:
    """A checkpoint as a Runner saves it."""
    for module in model.modules():  # as if it were trained: statistics and logits that tell something
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
    meta = dict(cfg=config.pretty_text, dataset_meta=dict(classes=CLASSES), epoch=3)
    return dict(meta=meta, state_dict=model.state_dict(), message_hub=dict())


@pytest.fixture
def distilled(tmp_path):
    """Write the checkpoint of a distillation; its student in eval mode, and the file."""

    def distilled(student: dict):
        config = run_config(student)
        algorithm = MODELS.build(dict(config.model.to_dict(), data_preprocessor=config.data_preprocessor.to_dict()))
        torch.save(saved(algorithm, config), tmp_path / 'epoch_3.pth')
        return algorithm.architecture.eval(), tmp_path / 'epoch_3.pth'

    return distilled


def tool(*arguments: str) -> None:
    """``tools/export_student.py`` in this process."""
    before, sys.argv = sys.argv, ['tools/export_student.py', *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / 'tools' / 'export_student.py'), run_name='__main__')
    finally:
        sys.argv = before


# ---- the hook -------------------------------------------------------------------------------------------------------


def train(work_dir: Path, epochs: int, **more) -> Runner:
    """A run that saves every epoch and keeps two."""
    loader = dict(dataset=dict(type='tas_mm.EightImages'), batch_size=4, num_workers=0)
    cfg = run_config(
        networks.resnet_cifar(),
        default_scope='mmpretrain',
        work_dir=str(work_dir),
        train_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=True)),
        val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(type='tas_mm.TASValLoop'),
        val_evaluator=dict(type='Accuracy'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(type='tas_mm.CheckpointHook', interval=1, max_keep_ckpts=2, save_best='auto'),
            export_student=dict(type='tas_mm.ExportStudentHook'),
        ),
        custom_hooks=[dict(type='EMAHook', momentum=0.3)],
        experiment_name=f'{work_dir.name}{epochs}',
        log_level='ERROR',
    )
    cfg.merge_from_dict(more)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def check_students(folder: Path, checkpoints: Iterable[str]) -> None:
    """The student beside a checkpoint is of the same weights."""
    for name in checkpoints:
        whole = torch.load(folder / name, weights_only=False)
        student = torch.load(folder / f'student_{name}', weights_only=True)
        assert student['meta']['epoch'] == whole['meta']['epoch']
        assert student['meta']['dataset_meta'] == dict(classes=CLASSES)
        assert all(
            torch.equal(value, whole['state_dict'][f'architecture.{key}'])
            for key, value in student['state_dict'].items()
        )


def test_every_checkpoint_has_its_student_beside_it_and_none_outlives_it(tmp_path):
    train(tmp_path, 3)
    checkpoints = {path.name for path in tmp_path.glob('*.pth') if not path.name.startswith('student_')}
    assert {'epoch_2.pth', 'epoch_3.pth'} < checkpoints
    assert len(checkpoints) == 3  # and the best
    assert {path.name for path in tmp_path.glob('student_*')} == {f'student_{name}' for name in checkpoints}
    check_students(tmp_path, checkpoints)
    fewer = dict(resume=True, load_from=str(tmp_path / 'epoch_3.pth'))
    train(tmp_path, 3, **fewer, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    assert not (tmp_path / 'student_epoch_2.pth').exists()
    assert (tmp_path / 'student_epoch_3.pth').exists()


def test_a_name_that_stays_the_same_is_the_latest_students_too(tmp_path):
    train(tmp_path, 2, **{'default_hooks.checkpoint.filename_tmpl': 'latest.pth'})
    names = {path.name for path in tmp_path.glob('*.pth')}
    checkpoints = {'latest.pth', 'best_accuracy_top1_latest.pth'}
    assert names == checkpoints | {f'student_{name}' for name in checkpoints}
    check_students(tmp_path, checkpoints)
    assert torch.load(tmp_path / 'student_latest.pth', weights_only=True)['meta']['epoch'] == 2


def test_the_student_in_the_file_is_the_average_where_there_is_one(tmp_path):
    runner = train(tmp_path, 1)
    average = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook').ema_model.module.architecture
    student = torch.load(tmp_path / 'student_epoch_1.pth', weights_only=True)['state_dict']
    trained = runner.model.architecture.state_dict()
    assert student.keys() == trained.keys()
    assert all(torch.equal(value, student[key]) for key, value in average.state_dict().items())
    assert not torch.equal(trained['backbone.conv1.weight'], student['backbone.conv1.weight'])


# ---- plain MMPretrain -----------------------------------------------------------------------------------------------

PLAIN = """
import torch
from mmengine.config import Config
from mmpretrain import get_model
images = torch.load({folder!r} + '/images.pth')
for file in {files!r}:
    checkpoint = torch.load(file, weights_only=True)
    model = get_model(Config.fromstring(checkpoint['meta']['cfg'], '.py'), pretrained=file)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    normalized = model.data_preprocessor(dict(inputs=images))['inputs']
    with torch.no_grad():
        torch.save((model(normalized), model._dataset_meta['classes']), file + '.logits')
"""


def test_the_student_is_the_same_where_tas_mm_cannot_be_imported(distilled, tmp_path):
    wanted = {}
    torch.save(IMAGES, tmp_path / 'images.pth')
    for student in (networks.resnet, networks.vit, small_swin, timm_backbone, timm_classifier):
        model, path = distilled(student())
        file = str(tmp_path / f'{student.__name__}.pth')
        tool(path, file)
        with torch.no_grad():
            wanted[file] = model(model.data_preprocessor(dict(inputs=IMAGES))['inputs'])
    run_without_tas_mm(PLAIN.format(folder=str(tmp_path), files=[*wanted]), tmp_path)
    for file, logits in wanted.items():
        plain, classes = torch.load(f'{file}.logits')
        assert torch.equal(plain, logits), file
        assert logits.std() > 1e-3
        assert classes == CLASSES


def test_a_data_set_without_metainfo_has_no_classes():
    student = student_checkpoint(dict(meta=dict(dataset_meta=None), state_dict={}))
    assert student['meta']['dataset_meta'] == {}


def test_the_file_is_as_large_as_the_plain_networks(build):
    student = dict(Config.fromfile(ROOT / 'configs/tas/swin_to_r18.py').model.architecture)
    plain = build(student)
    state = {f'architecture.{key}': value for key, value in plain.state_dict().items()}
    state['distiller.projector.weight'] = torch.zeros(10**6)
    config = student_config(Config.fromfile(ROOT / 'configs/tas/swin_to_r18.py'))
    files = io.BytesIO(), io.BytesIO()
    torch.save(student_checkpoint(dict(state_dict=state), config), files[0])
    torch.save(dict(state_dict=plain.state_dict()), files[1])
    sizes = [len(file.getvalue()) for file in files]
    assert abs(sizes[0] / sizes[1] - 1) < 0.01


def test_what_cannot_do_without_tas_mm_is_named(distilled, tmp_path, logged):
    _, path = distilled(vit_with_stem())
    tool(path, tmp_path / 'student.pth')
    assert 'student.pth needs tas_mm.ConvStem, which MMPretrain does not have. Run `import tas_mm`' in logged.text
    build_student(torch.load(tmp_path / 'student.pth', weights_only=True))


def test_the_students_file_imports_what_the_student_needs_and_not_the_distiller(tmp_path, monkeypatch):
    (tmp_path / 'their_nets.py').write_text(
        'from mmengine.registry import MODELS\nfrom mmpretrain.models import ResNet\n'
        '@MODELS.register_module(force=True)\nclass TheirResNet(ResNet): pass\n'
    )
    (tmp_path / 'their_distiller.py').write_text('import tas_mm\n')
    monkeypatch.syspath_prepend(tmp_path)
    student = networks.resnet()
    config = run_config(student, custom_imports=dict(imports=['tas_mm', 'their_distiller', 'their_nets']))
    importlib.import_module('their_nets')
    assert 'custom_imports' not in student_config(config)
    config.custom_imports.imports = 'their_distiller'
    assert 'custom_imports' not in student_config(config)
    student['backbone']['type'] = 'TheirResNet'
    config = run_config(student, custom_imports=dict(imports=['tas_mm', 'their_distiller', 'their_nets']))
    alone = student_config(config)
    assert alone.custom_imports == dict(imports=['their_nets'])
    alone.dump(tmp_path / 'student.py')
    code = 'import mmpretrain; print(mmpretrain.get_model("student.py").backbone.depth)'
    assert run_without_tas_mm(f'sys.path.insert(0, ".")\n{code}', tmp_path).strip().endswith('18')


def test_a_config_from_bases_of_tas_mm_needs_none_of_it(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'tas_mm::tas/convnext_to_swin_p_cifar100.py'\n")
    config = student_config(Config.fromfile(tmp_path / 'mine.py'))
    assert not list(components(config.model.to_dict()))
    assert '_scope_' not in config.pretty_text
    assert config.model.backbone.arch.embed_dims == 48
    assert config.data_preprocessor.num_classes == 100
    assert config.test_dataloader.dataset.type == 'CIFAR100'


def razor_config(architecture: dict, head: str) -> Config:
    """MMRazor's own distillation, as its configs write it."""
    distiller = dict(
        type='ConfigurableDistiller',
        student_recorders=dict(fc=dict(type='ModuleOutputs', source=head)),
        teacher_recorders=dict(fc=dict(type='ModuleOutputs', source='head.fc')),
        distill_losses=dict(loss_kl=dict(type='KLDivergence', tau=1)),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='fc'), preds_T=dict(from_student=False, recorder='fc')
            )
        ),
    )
    model = dict(
        _scope_='mmrazor',
        type='SingleTeacherDistill',
        architecture=architecture,
        teacher=networks.swin(),
        distiller=distiller,
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', **CIFAR),
    )
    return Config(dict(default_scope='mmrazor', model=model))


@pytest.mark.parametrize(
    ('architecture', 'head'),
    [
        (networks.resnet(), 'head.fc'),
        (timm_classifier(), 'model.head'),
        (dict(cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py'), 'head.fc'),
    ],
    ids=['config', 'timm', 'cfg_path'],
)
def test_runs_of_plain_mmrazor_are_converted(tmp_path, architecture, head):
    config = razor_config(architecture, head)
    algorithm = MODELS.build(config.model.to_dict())
    state = saved(algorithm, config)
    assert any(key.startswith('teacher.') for key in state['state_dict'])
    torch.save(state, tmp_path / 'epoch_3.pth')
    student = build_student(read_student(str(tmp_path / 'epoch_3.pth')))
    assert student.data_preprocessor.mean.flatten().tolist() == CIFAR['mean']
    with torch.no_grad():
        assert torch.equal(student(IMAGES), algorithm.architecture.eval()(IMAGES))


# ---- other forms ----------------------------------------------------------------------------------------------------


def shallow_swin() -> dict:
    """A Swin with shifted windows in its first stage alone."""
    arch = dict(embed_dims=16, depths=[2, 1, 1, 1], num_heads=[1, 2, 4, 8])
    backbone = dict(type='SwinTransformer', arch=arch, img_size=SIZE, window_size=2)
    return networks.classifier(backbone, 128)


def test_onnxruntime_gives_the_same_logits_for_any_batch(distilled, tmp_path):
    model, path = distilled(shallow_swin())
    tool(path, tmp_path / 'onnx', '--to', 'onnx', '--input-size', SIZE)
    session = onnxruntime.InferenceSession(tmp_path / 'onnx')
    about = session.get_modelmeta().custom_metadata_map
    assert about['classes'] == '["a", "b", "c", "d", "e"]'
    assert about['mean'] == '[1.0, 2.0, 3.0]'
    assert (about['range'], about['layout'], about['size']) == ('[0, 255]', '"NCHW"', f'[{SIZE}, {SIZE}]')
    assert about['order'] in ('"rgb"', '"bgr"', '"as the dataset gives them"')
    for batch in (1, 3):
        with torch.no_grad():
            wanted = model(IMAGES[:batch])
        logits = session.run(None, dict(images=IMAGES[:batch].numpy()))[0]
        torch.testing.assert_close(torch.from_numpy(logits), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('student', [networks.resnet, small_swin, timm_classifier])
def test_torchscript_gives_the_same_logits_for_any_batch(distilled, tmp_path, student):
    model, path = distilled(student())
    tool(path, tmp_path / 'graph.pt', '--to', 'torchscript', '--input-size', SIZE)
    graph = torch.jit.load(tmp_path / 'graph.pt')
    for batch in (1, 3):
        with torch.no_grad():
            assert torch.equal(graph(IMAGES[:batch]), model(IMAGES[:batch]))


@pytest.mark.long
@pytest.mark.parametrize('student', [networks.resnet_cifar, shallow_swin])
def test_an_exported_program_gives_the_same_logits_for_any_batch_and_says_how_to_feed_it(distilled, tmp_path, student):
    model, path = distilled(student())
    tool(path, tmp_path / 'student.pt2', '--to', 'export', '--input-size', SIZE)
    about = dict.fromkeys(('classes', 'range', 'order', 'layout', 'size', 'mean', 'std'), '')
    program = torch.export.load(tmp_path / 'student.pt2', extra_files=about).module()
    for batch in (1, 3):
        with torch.no_grad():
            torch.testing.assert_close(program(IMAGES[:batch]), model(IMAGES[:batch]))
    told = {key: json.loads(value) for key, value in about.items()}
    assert told.pop('order') in ('rgb', 'bgr', 'as the dataset gives them')
    assert told == dict(classes=[*CLASSES], range=[0, 255], layout='NCHW', size=[SIZE, SIZE], **CIFAR)
    code = f'import torch; print(torch.export.load("student.pt2").module()(torch.zeros(4, 3, {SIZE}, {SIZE})).shape)'
    assert run_without_tas_mm(code, tmp_path).strip().endswith('torch.Size([4, 5])')


def test_torchscript_is_called_deprecated(distilled, tmp_path, logged):
    _, path = distilled(networks.resnet_cifar())
    export(read_student(str(path)), 'torchscript', (SIZE, SIZE))
    assert 'TorchScript is deprecated since torch 2.11. Use --to export' in logged.text


@pytest.mark.parametrize(('student', 'name'), [(timm_backbone, 'test_resnet'), (timm_classifier, 'test_vit')])
def test_timm_loads_its_own_networks(distilled, tmp_path, student, name):
    model, path = distilled(student())
    tool(path, tmp_path / 'timm.pth', '--to', 'timm')
    options = torch.load(tmp_path / 'timm.pth', weights_only=True)['model_args']
    net = timm.create_model(name, checkpoint_path=str(tmp_path / 'timm.pth'), **options).eval()
    with torch.no_grad():
        torch.testing.assert_close(net(IMAGES), model(IMAGES))


def test_a_detectors_backbone_starts_from_it(distilled, tmp_path, build):
    student, path = distilled(networks.resnet())
    tool(path, tmp_path / 'backbone.pth', '--to', 'backbone')
    state = torch.load(tmp_path / 'backbone.pth', weights_only=True)['state_dict']
    assert {key.split('.')[0] for key in state} == {'backbone'}
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'), prefix='backbone.')
    backbone = build(dict(networks.resnet()['backbone'], out_indices=(0, 1, 2, 3), init_cfg=init))
    loaded = backbone.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in student.backbone.state_dict().items())


def alone(student: dict, **kwargs) -> tuple[nn.Module, dict]:
    """A network that was trained alone, in eval mode, and its checkpoint."""
    config = Config(dict(model=student, **kwargs))
    student = student_config(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(student_model(student)).eval()
    return model, student_checkpoint(saved(model, config), student)


@pytest.mark.parametrize('size', [None, (SIZE, SIZE)])
def test_a_network_for_gray_images_is_shown_such(size):
    model, checkpoint = alone(networks.vit(in_channels=1), data_preprocessor=dict(mean=[0.0], std=[255.0]))
    data, _ = export(checkpoint, 'torchscript', size)
    with torch.no_grad():
        assert torch.equal(torch.jit.load(io.BytesIO(data))(IMAGES[:, :1]), model(IMAGES[:, :1]))


def test_a_network_that_rearranges_pixels_is_shown_images(build):
    student = dict(type='TimmClassifier', model_name='tresnet_m', num_classes=NUM_CLASSES, width_factor=0.25)
    config = Config(dict(default_scope='mmpretrain', model=student))  # its first convolution takes 48 channels
    checkpoint = student_checkpoint(saved(build(student), config), student_config(config))
    assert export(checkpoint, 'timm', (SIZE, SIZE))[1] == 0


def test_the_size_of_a_graph_is_what_pipeline_or_network_says(monkeypatch):
    seen = []

    def form(model, checkpoint, images):
        seen.append(tuple(images.shape[-2:]))
        return b'', model(images)

    monkeypatch.setitem(FORMS, 'torchscript', form)
    monkeypatch.setitem(FORMS, 'mmpretrain', form)
    for transforms in ([], [dict(type='CenterCrop', crop_size=48)]):
        loader = dict(dataset=dict(type='CustomDataset', pipeline=[*transforms, dict(type='PackInputs')]))
        _, checkpoint = alone(networks.resnet(), test_dataloader=loader)
        if transforms:
            export(checkpoint, 'torchscript')
        else:
            with pytest.raises(ValueError, match='neither test pipeline nor network gives it. Set it with --inp'):
                export(checkpoint, 'torchscript')
            export(checkpoint, 'mmpretrain')  # whose file is the same for all sizes
    export(alone(networks.vit())[1], 'torchscript')
    assert seen == [(224, 224), (48, 48), (SIZE, SIZE)]


def test_other_logits_are_never_written(distilled, tmp_path, monkeypatch):
    _, path = distilled(networks.resnet())
    checkpoint = read_student(str(path))
    monkeypatch.setattr(torch.jit, 'load', lambda file: lambda images: torch.ones(3, NUM_CLASSES))
    with pytest.raises(ValueError, match=r'its logits would differ by up to [\d.e+-]+. Expected 0.0001 or less'):
        export(checkpoint, 'torchscript', (SIZE, SIZE))


# ---- errors, in one line --------------------------------------------------------------------------------------------


def refusal(*arguments: str) -> str:
    """Return the tool's error."""
    with pytest.raises(SystemExit) as raised:
        tool(*arguments)
    assert '\n' not in raised.value.code
    return raised.value.code


def test_the_tool_says_in_one_line_what_is_wrong(distilled, tmp_path):
    out = tmp_path / 'out'
    assert "checkpoint '/nowhere.pth' does not exist" in refusal('/nowhere.pth', out)
    model, path = distilled(networks.resnet())
    assert 'the student is a ResNet, which is not one of timm' in refusal(path, out, '--to', 'timm')
    assert 'is a folder or the checkpoint itself' in refusal(path, path)
    assert "config 'nowhere.py' does not exist" in refusal(path, out, '--config', 'nowhere.py')
    whole = torch.load(path)
    others = {key: value for key, value in whole['state_dict'].items() if not key.startswith('architecture.')}
    torch.save(dict(whole, state_dict=others), tmp_path / 'none.pth')
    assert 'it has no student: no weight is named architecture.*' in refusal(tmp_path / 'none.pth', out)
    torch.save(dict(state_dict=whole['state_dict']), tmp_path / 'bare.pth')
    assert 'it has no config. Give the config of the run with --config' in refusal(tmp_path / 'bare.pth', out)
    whole['state_dict'].pop('architecture.head.fc.bias')
    torch.save(whole, tmp_path / 'less.pth')
    assert re.search('do not fit: .*head.fc.bias', refusal(tmp_path / 'less.pth', out))
    whole['meta']['cfg'] += '\nimport os'
    torch.save(whole, tmp_path / 'code.pth')
    assert re.search(
        r'has more than values, in line \d+. Give the config of the run', refusal(tmp_path / 'code.pth', out)
    )
    _, path = distilled(timm_classifier())
    assert 'a TimmClassifier does not have a backbone of its own' in refusal(path, out, '--to', 'backbone')
    assert not out.exists()
