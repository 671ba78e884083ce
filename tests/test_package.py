"""The package installs and imports with everything that a user needs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
SHIPPED = [
    pytest.param('baselines/scalekd/swin_l_to_vit_s.py', marks=pytest.mark.long),
    'quickstart/student.py',
    'quickstart/tas.py',
    'tas/swin_to_resmlp_cifar100.py',
]


def python(code: str, *options: str) -> str:
    """Run code in a fresh interpreter, outside the repository; return all that it says."""
    result = subprocess.run([sys.executable, *options, '-c', code], cwd='/', capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_importing_it_is_all_a_user_must_do_and_it_says_nothing():
    code = "import tas_mm; from mmengine.registry import MODELS; print(MODELS.build(dict(type='tas_mm.OFALoss')).gamma)"
    assert python(code) == '1.0\n'


@pytest.mark.long
def test_a_type_with_the_scope_imports_it_by_itself():
    code = "from mmengine.registry import MODELS\nprint(type(MODELS.build(dict(type='tas_mm.InfoNCELoss'))).__module__)"
    assert python(code, '-W', 'ignore').splitlines()[-1] == 'tas_mm.models.losses.info_nce'


def test_shipped_configs_are_bases_once_it_is_imported(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'tas_mm::tas/swin_to_r18.py'\ntrain_cfg = dict(max_epochs=7)\n")
    config = Config.fromfile(tmp_path / 'mine.py')
    assert config.model.type == 'tas_mm.TAS'
    assert config.train_cfg.max_epochs == 7


@pytest.mark.parametrize('name', SHIPPED)
def test_a_shipped_config_works_as_a_base(tmp_path, name):
    """MMEngine gives what comes from a base of another package the scope of that package; all must be found in it."""
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DATASETS, DefaultScope

    from tas_mm.analysis.trial import build_model, synthetic_batch, train_step
    from tas_mm.config import pipeline_size

    (tmp_path / 'mine.py').write_text(f"_base_ = 'tas_mm::{name}'\n")
    config = Config.fromfile(tmp_path / 'mine.py')
    model = build_model(config)
    train_step(model, synthetic_batch(model, input_size=pipeline_size(config)), strict=True)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        Evaluator(config.val_evaluator)
        if 'quickstart' in name:
            assert DATASETS.build(config.val_dataloader.dataset)[0]['inputs'].shape == (3, 32, 32)


def test_mixing_into_a_config_of_ones_own_takes_three_lines(tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'\n"
        "model = dict(_delete_=True, type='tas_mm.TAS', architecture=_base_.model,\n"
        "             teacher='mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py')\n"
    )
    config = Config.fromfile(tmp_path / 'mine.py')
    assert config.model.architecture.backbone.depth == 18
    assert config.train_dataloader.dataset.type == 'ImageNet'


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return zipfile.ZipFile(next(folder.glob('*.whl')))


def test_the_wheel_carries_configs_and_tools(wheel):
    names = wheel.namelist()
    for name in (
        'model-index.yml',
        'configs/tas/swin_to_r18.py',
        'configs/_base_/default_runtime.py',
        'tools/train.py',
    ):
        assert f'tas_mm/.mim/{name}' in names
    assert not any('__pycache__' in name or name.startswith('tests') for name in names)


@pytest.fixture(scope='module')
def clean_python(wheel, tmp_path_factory):
    """An environment with the wheel installed, and the stack of this one without tas_mm's clone."""
    folder = tmp_path_factory.mktemp('clean')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
    python = folder / 'bin' / 'python'
    install = ['install', '--quiet', '--no-deps', '--no-index', wheel.filename]
    subprocess.run([sys.executable, '-m', 'pip', '--python', str(python), *install], env=without_paths(), check=True)
    (site,) = folder.glob('lib/python*/site-packages')
    stack = [path for path in sys.path if path.endswith('site-packages')]  # a .pth in them is not read
    (site / 'stack.pth').write_text('\n'.join(stack))
    return python


def without_paths() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}


def run_clean(python: Path, *words: str) -> str:
    command = [str(python), '-W', 'ignore', *words]
    result = subprocess.run(command, cwd=python.parents[1], env=without_paths(), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.long
def test_the_wheel_works_without_the_clone(clean_python):
    """The doctor is content, and a tool of the wheel builds a shipped config by another method."""
    site = next(clean_python.parents[1].glob('lib/python*/site-packages'))
    assert run_clean(clean_python, '-c', 'import tas_mm; print(tas_mm.__file__)').splitlines()[-1].startswith(str(site))
    said = run_clean(clean_python, '-m', 'tas_mm.doctor')
    assert 'tas_mm can run.' in said
    assert 'configs are missing' not in said
    tool = str(site / 'tas_mm/.mim/tools/check_config.py')
    assert '\nok\n' in run_clean(clean_python, tool, 'tas_mm::quickstart/tas.py', '--method', 'kd')


def test_installing_it_pulls_in_nothing(wheel):
    metadata = next(name for name in wheel.namelist() if name.endswith('METADATA'))
    requires = [line for line in wheel.read(metadata).decode().splitlines() if line.startswith('Requires-Dist')]
    assert requires
    assert all('extra ==' in line for line in requires)


def test_a_type_with_the_scope_works_inside_another_scope():
    from mmengine.registry import MODELS, DefaultScope

    for scope in ('mmpretrain', 'mmrazor', 'mmengine'):
        with DefaultScope.overwrite_default_scope(scope):
            assert MODELS.build(dict(type='tas_mm.OFALoss', gamma=1.2)).gamma == 1.2
