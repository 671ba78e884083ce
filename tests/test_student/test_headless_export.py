"""A student without a head leaves home, alone or with its projection into the teacher's space."""

import io
import json

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models import build_backbone
from torch import nn

from tas_mm.models.distillers import interface_of
from tas_mm.student import read_student
from tas_mm.student.embedding import read_projection
from tas_mm.student.export import export
from tests import networks
from tests.networks import NUM_CLASSES, SIZE
from tests.test_student.test_export import IMAGES, saved, timm_backbone, timm_classifier, tool


def headless(cfg):
    return dict(cfg, head=None)


@pytest.fixture
def distilled(tmp_path):
    """Write the checkpoint of a distillation from a headless teacher; its student in eval mode, and the file."""

    def distilled(student: dict, teacher: dict | list | None = None, **distiller):
        distiller = dict(type='tas_mm.TASDistiller', input_size=SIZE) | distiller
        teacher = headless(networks.vit()) if teacher is None else teacher
        config = Config(dict(model=dict(type='tas_mm.TAS', architecture=student, teacher=teacher, distiller=distiller)))
        algorithm = MODELS.build(config.model.to_dict())
        torch.save(saved(algorithm, config), tmp_path / 'epoch_3.pth')
        return algorithm.eval(), tmp_path / 'epoch_3.pth'

    return distilled


def feature_of(algorithm):
    with torch.no_grad():
        seen, _ = interface_of(algorithm).student_observer(algorithm.architecture, IMAGES, mode='tensor')
    return seen.feature


def equal(a, b):
    torch.testing.assert_close(torch.as_tensor(a), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('student', [networks.resnet, networks.vit, networks.swin], ids=['resnet', 'vit', 'swin'])
def test_its_file_is_a_plain_backbone(distilled, tmp_path, student):
    """As MMPretrain, MMDetection and MMSegmentation load it, and MMPretrain under a new head."""
    algorithm, path = distilled(headless(student()))
    for form in ('mmpretrain', 'backbone'):
        out = tmp_path / f'{form}.pth'
        tool(path, out, '--to', form, '--input-size', SIZE)
        init_cfg = dict(type='Pretrained', checkpoint=str(out), prefix='backbone.')
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            backbone = build_backbone(dict(student()['backbone'], init_cfg=init_cfg))
            backbone.init_weights()
            backbone.eval()
            with torch.no_grad():
                equal(backbone(IMAGES)[-1], algorithm.architecture.backbone(IMAGES)[-1])


@pytest.mark.parametrize(
    'student',
    [headless(timm_backbone()), dict(timm_classifier(), num_classes=0)],
    ids=['TIMMBackbone', 'TimmClassifier'],
)
def test_one_of_timm_is_read_by_timm(distilled, tmp_path, student):
    algorithm, path = distilled(student)
    out = tmp_path / 'student.pth'
    tool(path, out, '--to', 'timm', '--input-size', SIZE)
    saved = torch.load(out, weights_only=True)
    assert saved['model_args'].pop('num_classes') == 0
    model = timm.create_model(saved['arch'], num_classes=0, checkpoint_path=str(out), **saved['model_args']).eval()
    with torch.no_grad():
        equal(model(IMAGES), feature_of(algorithm))


def onnx_output(data, name):
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    assert [output.name for output in session.get_outputs()] == [name]
    assert json.loads(session.get_modelmeta().custom_metadata_map['size']) == [SIZE, SIZE]
    return session.run(None, {'images': np.asarray(IMAGES)})[0]


def test_graphs_give_its_feature(distilled):
    algorithm, path = distilled(headless(timm_backbone()))
    data, difference = export(read_student(str(path)), 'torchscript', (SIZE, SIZE))
    assert difference < 1e-4
    equal(torch.jit.load(io.BytesIO(data))(IMAGES), feature_of(algorithm))


@pytest.mark.parametrize(
    ('student', 'form'),
    [(headless(timm_backbone()), 'onnx'), (timm_classifier(), 'export'), (networks.resnet_cifar(), 'torchscript')],
    ids=['headless', 'timm with head', 'with head'],
)
def test_graphs_give_its_embedding_in_the_teachers_space(distilled, tmp_path, student, form):
    algorithm, path = distilled(student)
    projection = algorithm.distiller.distill_losses['loss_ts_nce'].projection
    wanted = projection(feature_of(algorithm)).detach()
    assert wanted.shape == (3, 32)
    tool(path, tmp_path / 'graph', '--to', form, '--projection')
    run = dict(
        onnx=lambda file: onnx_output(file.read_bytes(), 'embedding'),
        export=lambda file: torch.export.load(str(file)).module()(IMAGES),
        torchscript=lambda file: torch.jit.load(str(file))(IMAGES),
    )
    with torch.no_grad():
        equal(run[form](tmp_path / 'graph'), wanted)


def test_an_mlp_and_no_layer_at_all_are_projections_too(distilled):
    terms = dict(own=dict(type='tas_mm.CosineSmoothL1Loss', reads='feature', hidden_ratio=0.3))
    algorithm, path = distilled(headless(networks.resnet()), type='tas_mm.PairDistiller', terms=terms)
    loss = algorithm.distiller.distill_losses['loss_own']
    assert isinstance(loss.projection, nn.Sequential)
    found, kind = read_projection(torch.load(path, weights_only=False))
    x = torch.randn(4, 128)
    equal(found(x), loss.projection(x).detach())
    assert kind is None
    algorithm, path = distilled(headless(networks.vit()))
    found, _ = read_projection(torch.load(path, weights_only=False))
    assert isinstance(found, nn.Identity)


def test_the_feature_is_the_one_that_the_loss_read(distilled):
    """The mean over the patches of a ViT that gives its class token."""
    algorithm, path = distilled(
        headless(networks.vit('raw')), student_feature='mean', teacher=headless(networks.resnet())
    )
    projection, kind = read_projection(torch.load(path, weights_only=False))
    assert kind == 'mean'
    data, _ = export(read_student(str(path)), 'torchscript', (SIZE, SIZE), projection, kind)
    wanted = algorithm.distiller.distill_losses['loss_ts_nce'].projection(feature_of(algorithm)).detach()
    equal(torch.jit.load(io.BytesIO(data))(IMAGES), wanted)


def test_of_several_teachers_one_is_named(distilled):
    teachers = [headless(networks.vit()), headless(networks.swin())]
    algorithm, path = distilled(headless(networks.resnet()), teacher=teachers)
    checkpoint = torch.load(path, weights_only=False)
    with pytest.raises(ValueError, match='expected one loss .* teacher0.loss_ts_nce, teacher1.loss_ts_nce'):
        read_projection(checkpoint)
    assert read_projection(checkpoint, 'teacher0.loss_ts_nce')[0].out_features == 32


def refused(*arguments):
    with pytest.raises(SystemExit) as error:
        tool(*arguments)
    return str(error.value)


def test_what_cannot_be_projected_is_said(distilled, tmp_path):
    algorithm, path = distilled(headless(networks.resnet()))
    out = tmp_path / 'out'
    size = ('--input-size', SIZE)
    assert 'Expected --to onnx or export' in refused(path, out, '--projection', *size)
    said = refused(path, out, '--to', 'onnx', '--projection', 'loss_as_nces', *size)
    assert '--projection loss_as_nces: expected one loss between features. Got loss_ts_nce' in said
    tool(path, tmp_path / 'student.pth', *size)
    said = refused(tmp_path / 'student.pth', out, '--to', 'onnx', '--projection', *size)
    assert 'none: only checkpoints of a distillation have them, not a file of the student' in said
    terms = dict(own=dict(type='tas_mm.CosineSmoothL1Loss', reads='stage3'))
    _, path = distilled(headless(networks.resnet()), type='tas_mm.PairDistiller', terms=terms)
    said = refused(path, out, '--to', 'onnx', '--projection', *size)
    assert "takes 64 channels, but the student's feature has 128" in said
    terms = dict(own=dict(type='tas_mm.CosineSmoothL1Loss', reads='feature', balanced=True))
    _, path = distilled(headless(networks.resnet()), type='tas_mm.PairDistiller', terms=terms)
    assert 'it leads to balanced features' in refused(path, out, '--to', 'onnx', '--projection', *size)
    assert not out.exists()


def test_three_lines_fine_tune_it(distilled, tmp_path):
    algorithm, path = distilled(headless(networks.resnet()))
    tool(path, tmp_path / 'student.pth', '--input-size', SIZE)
    (tmp_path / 'base.py').write_text(f'model = {networks.resnet()!r}\n')
    (tmp_path / 'tune.py').write_text(
        "_base_ = 'base.py'\n"
        f"init_cfg = dict(type='Pretrained', checkpoint='{tmp_path}/student.pth', prefix='backbone.')\n"
        f'model = dict(backbone=dict(init_cfg=init_cfg), head=dict(num_classes={NUM_CLASSES + 2}))\n'
    )
    model = MODELS.build(Config.fromfile(tmp_path / 'tune.py').model)
    model.init_weights()
    for name, value in algorithm.architecture.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value)
    with torch.no_grad():
        assert model(IMAGES).shape == (3, NUM_CLASSES + 2)
