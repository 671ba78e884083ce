"""The configs of pairs, read without building anything: the paper's pairs, their recipes, their teachers."""

import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import mmpretrain
import modelindex
import pytest
import yaml
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper

from tas_mm.config import read_config
from tas_mm.engine import hooks
from tas_mm.models import InfoNCELoss
from tas_mm.recipes.methods import methods

ROOT = Path(__file__).parents[1]
PAIRS = {path.stem: path for path in sorted(ROOT.glob('configs/tas/*.py'))}
CNNS = ('ResNet', 'MobileNetV2')
STUDENTS = {  # name in a config's file name -> depth, width, arch or name of the network
    'r18': 18,
    'r50': 50,
    'mobilenetv2': 1.0,
    'deit_t': 'deit-tiny',
    'swin_t': 'tiny',
    'swin_p': 'pico',
    'swin_n': 'nano',
    'resmlp': 'resmlp_12_224',
}


@cache
def pair_config(name: str) -> Config:
    return Config.fromfile(PAIRS[name])


get_config = cache(get_config)  # each call reads all metafiles


def classes(model):
    return model.get('num_classes') or model.head.num_classes


def pairs(teachers: str, students: str) -> set[str]:
    return {f'{teacher}_to_{student}' for teacher in teachers.split() for student in students.split()}


def test_every_pair_of_the_paper_is_there():
    on_cifar = pairs('swin vit_s mixer', 'r18 mobilenetv2') | pairs('convnext mixer', 'deit_t swin_p')
    on_cifar |= pairs('convnext swin', 'resmlp')
    on_imagenet = pairs('deit_t swin mixer', 'r18 mobilenetv2') | pairs('r50 convnext mixer', 'deit_t swin_n')
    on_imagenet |= pairs('r50 convnext swin', 'resmlp')
    of_one_family = {'r34_to_r18', 'r50_to_r18', 'swin_s_to_swin_t', 'deit_s_to_deit_t'}
    assert (len(on_cifar), len(on_imagenet)) == (12, 15)
    on_cifar = {f'{name}_cifar100' for name in on_cifar}
    assert set(PAIRS) == on_cifar | on_imagenet | of_one_family | {'swin_to_r18_explicit', 'swin_to_r50'}


def test_the_recipe_goes_by_the_students_kind():
    for name in PAIRS:
        check_recipe(name, pair_config(name))


def check_recipe(name: str, cfg: Config) -> None:
    student = cfg.model.architecture
    cifar = name.endswith('cifar100')
    backbone = student.get('backbone', student)
    wanted = STUDENTS[re.sub('.*_to_|_cifar100|_explicit', '', name)]
    assert wanted in (backbone.get(key) for key in ('depth', 'widen_factor', 'arch', 'model_name'))
    assert classes(student) == cfg.data_preprocessor.num_classes == (100 if cifar else 1000)
    loss = student.get('loss') or student.head.loss
    assert (loss.type, loss.label_smooth_val) == ('LabelSmoothLoss', 0.1)

    cnn = backbone.type in CNNS
    mixed = [augment.type for augment in student.get('train_cfg', {}).get('augments', [])]
    drawn = [transform.type for transform in cfg.train_dataloader.dataset.pipeline]
    assert mixed == ([] if cnn else ['Mixup', 'CutMix'])
    assert ('RandAugment' in drawn, 'RandomErasing' in drawn) == (not cnn, not cnn)
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.log_scale.decay_mult == 0
    optimizer, warm_up = cfg.optim_wrapper.optimizer, cfg.param_scheduler[0].end
    recipe = (optimizer.type, optimizer.lr, optimizer.weight_decay, cfg.train_cfg.max_epochs, warm_up)
    if cnn:
        assert recipe == (('SGD', 0.05, 2e-3, 300, 3) if cifar else ('SGD', 0.1, 1e-4, 100, 3))
    else:
        assert recipe == ('AdamW', 5e-4, 0.05, 300, 20)
        assert cfg.optim_wrapper.clip_grad.max_norm == 5
        assert cfg.param_scheduler[1].eta_min == (1e-5 if cifar else 1e-6)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size


def test_every_hook_of_ours_is_in_the_default_runtime():
    """All but the one that shards a teacher, which few people need."""
    shipped = {hook.type for hook in read_config('tas_mm::_base_/default_runtime.py').default_hooks.values()}
    ours = {f'tas_mm.{name}' for name in hooks.__all__ if name.endswith('Hook')}
    assert ours - shipped == {'tas_mm.ShardTeacherHook'}


SCHEDULES = [
    *sorted(path for path in ROOT.glob('configs/_base_/schedules/*.py') if path.stem != 'finetune_cifar100'),
    *sorted(ROOT.glob('configs/_base_/recipes/*.py')),
]


@pytest.mark.parametrize('path', SCHEDULES, ids=lambda path: path.stem)
def test_the_scale_of_the_contrast_does_not_decay(path):
    """In every schedule except the teacher's fine-tuning, which has no such loss."""
    loss = InfoNCELoss(learner_dim=2, target_dim=3)
    groups = build_optim_wrapper(loss, Config.fromfile(path).optim_wrapper).optimizer.param_groups
    decays = {parameter: group['weight_decay'] for group in groups for parameter in group['params']}
    assert decays[loss.log_scale] == 0 < decays[loss.projection.weight]


@pytest.mark.parametrize('path', ['configs/detection/tas_faster_rcnn_swin_t_to_r18.py'])
def test_the_scale_does_not_decay_in_recipes_of_other_toolboxes(path):
    keys = re.search(r'^optim_wrapper = .*$', (ROOT / path).read_text(), re.MULTILINE)[0]
    assert 'custom_keys=dict(log_scale=dict(decay_mult=0.0))' in keys


@cache
def accuracies(folder: str) -> dict[str, float]:
    """Weights in a folder of MMPretrain's configs -> their top-1 accuracy on ImageNet-1K."""
    models = yaml.safe_load((Path(mmpretrain.__path__[0]) / '.mim' / 'configs' / folder / 'metafile.yml').read_text())
    return {
        model['Weights']: result['Metrics']['Top 1 Accuracy']
        for model in models['Models']
        for result in model['Results'] or []
        if result['Dataset'].lower() == 'imagenet-1k'
    }


def test_the_teacher_has_weights_and_the_accuracy_that_they_are_known_for():
    """ImageNet: from MMPretrain's metafiles. CIFAR-100: weights from fine-tuning, accuracy from the paper."""
    for name in PAIRS:
        check_teacher(name, pair_config(name))


def check_teacher(name: str, cfg: Config) -> None:
    teacher, expected = cfg.model.teacher, cfg.default_hooks.check_teacher.expected
    if not name.endswith('cifar100'):
        assert teacher.pretrained
        weights = get_config(teacher.cfg_path, pretrained=True).model_path
        assert expected == accuracies(teacher.cfg_path.partition('::')[2].split('/')[0])[weights]
        return
    assert expected == {'swin': 89.26, 'vit': 92.04, 'mixer': 87.29, 'convnext': 88.41}[name.split('_')[0]]
    tuned = read_config(teacher)
    folder = Path(teacher.partition('::')[2]).stem
    assert cfg.model.teacher_ckpt == f'work_dirs/{folder}/epoch_{tuned.train_cfg.max_epochs}.pth'
    assert classes(tuned.model) == 100
    assert tuned.data_preprocessor == cfg.data_preprocessor
    assert tuned.model.get('pretrained') or tuned.model.backbone.init_cfg.type == 'Pretrained'
    assert f'tools/dist_train.sh configs/{teacher.partition("::")[2]} 8' in PAIRS[name].read_text()


def test_it_fits_on_a_screen_and_says_how_to_launch_it():
    for name, path in PAIRS.items():
        text = path.read_text()
        assert text.count('\n') <= 30 or name.endswith('explicit')
        assert f'tools/dist_train.sh configs/tas/{name}.py 8' in text or name.endswith('explicit')


def test_a_recipe_is_written_once():
    """A pair's config names the student's network, a recipe and a teacher, and inherits the rest."""
    recipes = {path.stem for path in ROOT.glob('configs/_base_/recipes/*.py')}
    for name, path in PAIRS.items():
        if name.endswith('explicit'):
            continue
        bases = re.search(r'_base_ = \[(.*)\]', path.read_text())[1].split(', ')
        assert len(bases) == 2, name
        assert Path(bases[1].strip("'")).stem in recipes


def test_the_methods_are_there():
    wanted = 'alone kd dkd dist rkd fitnet pkd ofa rsd queue dense lightly unic phis scalekd tas'
    ours = 'tas_best tas_lean tas_light tas_rsd tas_teacher_first'
    assert set(methods()) == {*wanted.split(), *ours.split()}


def test_scalekds_pairs_are_there_under_the_recipe_of_their_student():
    paths = {path.stem: path for path in ROOT.glob('configs/baselines/scalekd/*.py')}
    assert set(paths) == pairs('swin_l', 'r50 mobilenet_v1 convnext_t mixer_b vit_s swin_t')
    for name, path in paths.items():
        config = Config.fromfile(path).to_dict()
        student = name.partition('_to_')[2]
        kind = 'cnn' if student in ('r50', 'mobilenet_v1') else 'vit'
        expected = Config.fromfile(ROOT / f'configs/_base_/recipes/imagenet_{kind}.py').to_dict()
        distiller, teacher = config['model'].pop('distiller'), config['model'].pop('teacher')
        assert distiller == config.pop('distiller')
        assert {*distiller['terms']} == {'kd', 'scalekd'}
        assert ('norm' in distiller['terms']['scalekd']) == ('convnext' in name)
        assert teacher == dict(cfg_path='mmpretrain::swin_transformer/swin-large_16xb64_in1k.py', pretrained=True)
        weights = next(place for place in accuracies('swin_transformer') if 'swin_large_patch4_window7_224' in place)
        accuracy = config['default_hooks']['check_teacher'].pop('expected')
        assert accuracy == accuracies('swin_transformer')[weights]
        network = config.pop('model')
        config.pop('student', None)  # a name of the file's own
        assert network == dict(type='tas_mm.TAS', architecture=network['architecture'])
        loss = network['architecture'].get('loss') or network['architecture']['head']['loss']
        mixed = [augment['type'] for augment in network['architecture'].get('train_cfg', {}).get('augments', [])]
        assert (loss['type'], mixed) == ('LabelSmoothLoss', [] if kind == 'cnn' else ['Mixup', 'CutMix'])
        assert config == expected, name
        assert f'tools/dist_train.sh configs/baselines/scalekd/{path.name} 8' in path.read_text()


@pytest.fixture
def make_index(monkeypatch):
    """Load the tool, with the assistants read from the metafiles, since only a built model knows them."""
    spec = importlib.util.spec_from_file_location('make_index', ROOT / 'tools/make_index.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files = [yaml.safe_load(path.read_text()) for path in ROOT.glob('configs/*/metafile.yml')]
    made = {entry['Config']: entry['Metadata'].get('Assistant') for file in files for entry in file['Models']}
    monkeypatch.setattr(module, 'assistant', lambda config: made[str(config.relative_to(ROOT))])
    return module


def test_the_index_is_what_the_configs_say(make_index):
    for path, text in make_index.index().items():
        assert path.read_text() == text, f'{path} is not up to date: python tools/make_index.py'


@pytest.mark.all_configs
def test_the_assistants_in_the_index(monkeypatch):
    command = [sys.executable, '-W', 'ignore', 'tools/make_index.py', '--check']
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_index_in_openmmlabs_format():
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.check(silent=True)
    assert not index.check_errors
    models = list(index.models)
    assert len({model.name for model in models}) == len(models)
    shipped = {str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/*.py')}
    left = {path for path in shipped if '/_base_/' in path or '/suites/' in path}
    assert {model.config for model in models} == shipped - left
    assert {model.in_collection for model in models} == {collection.name for collection in index.collections}


def test_the_index_says_whose_results_these_are():
    for path in ROOT.glob('configs/*/metafile.yml'):
        for entry in yaml.safe_load(path.read_text())['Models']:
            source, metrics = entry['Metadata'].get('Source of Results', ''), entry['Results'][0]['Metrics']
            assert bool(metrics) == source.startswith(('the paper, quoted', 'measured here'))
            assert ('quoted' in source) == (
                '2410.12342: ' in (ROOT / entry['Config'].replace('_explicit', '')).read_text()
            )
