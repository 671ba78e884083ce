"""Teachers from everywhere: by name, of Hugging Face, of torchvision, and modules of one's own."""

import pytest
import timm
import torch
import torchvision
import transformers
from mmengine.registry import MODELS
from mmpretrain.apis.model import ModelHub
from torch import nn

from tas_mm.models import register_cut, view_of
from tas_mm.models.teachers import ModuleTeacher, build_teacher
from tests import networks
from tests.networks import NUM_CLASSES, SIZE

TAS = dict(type='tas_mm.TASDistiller', input_size=SIZE)
KD = dict(type='tas_mm.PairDistiller', input_size=SIZE, terms=dict(kd=dict(type='KLDivergence', tau=4)))
OFA = dict(type='tas_mm.PairDistiller', terms=dict(ofa=dict(type='tas_mm.OFALoss', gamma=1.2)))
WAYS = dict(image_size=SIZE, num_labels=NUM_CLASSES)
TOKENS = dict(hidden_size=32, num_attention_heads=2, patch_size=16, **WAYS)
HUGGING_FACE = dict(
    vit=(transformers.ViTConfig(num_hidden_layers=6, intermediate_size=64, **TOKENS), 'attention'),
    dinov2=(transformers.Dinov2WithRegistersConfig(num_hidden_layers=4, **TOKENS), 'attention'),
    swin=(
        transformers.SwinConfig(
            patch_size=4, embed_dim=16, depths=[1] * 4, num_heads=[1, 2, 4, 8], window_size=2, **WAYS
        ),
        'attention',
    ),
    resnet=(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1] * 4, layer_type='basic', num_labels=NUM_CLASSES
        ),
        'cnn',
    ),
    convnext=(
        transformers.ConvNextConfig(hidden_sizes=[8, 16, 32, 64], depths=[1] * 4, num_labels=NUM_CLASSES),
        'cnn',
    ),
)


@pytest.fixture
def on_disk(tmp_path):
    """A folder as ``save_pretrained`` leaves it, which Hugging Face's loaders take in place of a name."""

    def save(name):
        model = transformers.AutoModelForImageClassification.from_config(HUGGING_FACE[name][0])
        model.save_pretrained(tmp_path / name)
        return model, str(tmp_path / name)

    return save


def hugging_face(folder, **kwargs):
    return dict(type='HuggingFaceClassifier', _scope_='mmpretrain', model_name=folder, pretrained=True, **kwargs)


def step(algorithm, batch):
    losses = algorithm(*batch, mode='loss')
    algorithm.parse_losses(losses)[0].backward()
    assert [n for n, p in algorithm.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(torch.isfinite(value) for value in losses.values())
    return losses


# ---- Hugging Face ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', HUGGING_FACE)
def test_hugging_face_classifiers_are_cut_and_teach(build_tas, batch, on_disk, name):
    original, folder = on_disk(name)
    algorithm = build_tas(networks.resnet(), hugging_face(folder), distiller=TAS)
    with torch.no_grad():
        torch.testing.assert_close(algorithm.teacher.logits(batch[0]), original.eval()(batch[0]).logits)
    losses = step(algorithm, batch)
    assert len(losses) == 7
    view = algorithm.distiller.teacher_view
    assert (view.family, view.num_classes) == (HUGGING_FACE[name][1], NUM_CLASSES)
    assert max(view.check_tail(start) for start in (2, 3, 4, 5)) < 1e-5


@pytest.mark.parametrize('distiller', [KD, OFA], ids=['KD', 'OFA'])
def test_hugging_face_teacher_gives_its_logits_to_the_baselines(build_tas, batch, on_disk, distiller):
    _, folder = on_disk('vit')
    losses = step(build_tas(networks.resnet(), hugging_face(folder), distiller=distiller), batch)
    assert len(losses) == 2


def test_hugging_face_student_learns_and_its_file_is_hugging_faces(build_tas, batch, on_disk):
    original, folder = on_disk('vit')
    algorithm = build_tas(hugging_face(folder), networks.resnet())
    assert algorithm.distiller.assistant.late.model is algorithm.student
    assert torch.equal(algorithm.student.model.classifier.weight, original.classifier.weight)  # it starts from those
    step(algorithm, batch)
    state = {k.removeprefix('architecture.'): v for k, v in algorithm.state_dict().items() if k[:5] == 'archi'}
    original.load_state_dict(state)


# ---- modules that give logits ----------------------------------------------------------------------------------------


class Plain(nn.Module):
    """Six blocks in a list and a linear layer: nobody's conventions."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, 1 + i % 2, 1) for i in range(6))
        self.out = nn.Linear(width, NUM_CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x).relu()
        return self.out(x.mean((2, 3)))


class Bilinear(nn.Module):
    """No blocks at all; its logits come first in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.LazyLinear(NUM_CLASSES), nn.LazyLinear(NUM_CLASSES)
        self(torch.zeros(1, 3, SIZE, SIZE))

    def forward(self, x):
        return self.left(x.flatten(1)) * self.right(x.flatten(1)), 'more'


MODULES = dict(
    plain=Plain,
    timm=lambda: timm.create_model('resnet10t', num_classes=NUM_CLASSES),
    torchvision_resnet=lambda: torchvision.models.resnet18(num_classes=NUM_CLASSES),
    torchvision_vit=lambda: torchvision.models.VisionTransformer(SIZE, 16, 4, 2, 32, 64, num_classes=NUM_CLASSES),
    transformers=lambda: transformers.AutoModelForImageClassification.from_config(HUGGING_FACE['swin'][0]),
)


@pytest.mark.parametrize('name', MODULES)
def test_any_module_that_gives_logits_teaches(build_tas, batch, name):
    module = MODULES[name]()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    algorithm = build_tas(networks.vit(), module)
    assert len(step(algorithm, batch)) == 7
    assert algorithm.distiller.teacher_view.check_tail(4) < 1e-5
    assert not module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not any('teacher' in key for key in algorithm.state_dict())


def test_stages_of_a_pyramid_end_where_its_map_shrinks():
    view = view_of(ModuleTeacher(torchvision.models.mobilenet_v2(num_classes=NUM_CLASSES)), (SIZE, SIZE))
    assert [stage.grid for stage in view.stages] == [(16, 16), (8, 8), (4, 4), (2, 2)]


def test_a_module_without_blocks_gives_its_logits_and_says_what_it_cannot(build_tas, batch):
    module = Bilinear()
    algorithm = build_tas(networks.resnet(), module, distiller=KD)
    assert set(step(algorithm, batch)) == {'student.loss', 'distill.loss_kd'}
    torch.testing.assert_close(algorithm.teacher.logits(batch[0]), module(batch[0])[0])
    with pytest.raises(
        ValueError, match=r'model.teacher: tests Bilinear has no list of 4 .*PairDistiller.*own_backbone'
    ):
        build_tas(networks.resnet(), module, distiller=TAS)


def test_a_module_without_a_list_is_cut_where_its_view_says(build_tas, batch):
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3, 2, 1)
            self.three, self.four = nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 2, 1)
            self.out = nn.Linear(16, NUM_CLASSES)

        def forward(self, x):
            return self.out(self.four(self.three(self.two(self.one(x)))).mean((2, 3)))

    register_cut('tests.Named', family='cnn', stages=['one', 'two', 'three', 'four'])
    algorithm = build_tas(networks.vit(), Named())
    sources = [stage.source for stage in algorithm.distiller.teacher_view.stages]
    assert sources == ['model.one', 'model.two', 'model.three', 'model.four']
    assert algorithm.distiller.teacher_view.family == 'cnn'
    step(algorithm, batch)


def test_a_registered_module_is_a_teacher_by_its_type(build_tas, batch, tmp_path):
    MODELS.register_module(name='PlainNet', module=Plain, force=True)
    torch.save(Plain(4).state_dict(), tmp_path / 'plain.pth')
    algorithm = build_tas(networks.vit(), dict(type='PlainNet', width=4), teacher_ckpt=str(tmp_path / 'plain.pth'))
    step(algorithm, batch)
    saved = torch.load(tmp_path / 'plain.pth')
    assert all(torch.equal(value, saved[key]) for key, value in algorithm.teacher.network.model.state_dict().items())


def test_a_module_sees_images_normalized_its_way(build_tas):
    student = dict(networks.resnet(), data_preprocessor=dict(mean=[100.0] * 3, std=[50.0] * 3))
    own = dict(mean=[60.0] * 3, std=[30.0] * 3)
    algorithm = build_tas(
        student, dict(type='tas_mm.ModuleTeacher', model=dict(type=Plain), data_preprocessor=own), distiller=KD
    )
    seen = {}
    algorithm.teacher.network.model.register_forward_hook(lambda m, i, o: seen.update(x=i[0]))
    algorithm.teacher.logits(torch.full((1, 3, SIZE, SIZE), (120.0 - 100) / 50))
    torch.testing.assert_close(seen['x'], torch.full((1, 3, SIZE, SIZE), 2.0))


# ---- MMPretrain's names ----------------------------------------------------------------------------------------------


def test_a_name_brings_mmpretrains_config_and_its_published_weights(build, build_tas, monkeypatch, tmp_path):
    """In place of the download a file here: the index says where the weights lie."""
    published = ModelHub.get('resnet18_8xb16_cifar10')
    trained = build(published.config.model)
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / 'published.pth')
    published.weights = str(tmp_path / 'published.pth')
    monkeypatch.setitem(ModelHub._models_dict, 'resnet18_8xb16_cifar10', published)
    student = networks.resnet_cifar()
    student['head']['num_classes'] = 10
    algorithm = build_tas(student, 'resnet18_8xb16_cifar10', distiller=dict(type='tas_mm.TASDistiller', input_size=32))
    assert torch.equal(algorithm.teacher.network.head.fc.weight, trained.head.fc.weight)
    assert algorithm.teacher.network.data_preprocessor.mean.flatten().tolist() == pytest.approx(
        [125.307, 122.961, 113.8575]
    )


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(FileNotFoundError, match=r"resnet50_8xb32_im1k'.*Closest names: resnet50_8xb32_in1k"):
        build_teacher('resnet50_8xb32_im1k')
