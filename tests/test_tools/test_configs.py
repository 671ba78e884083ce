"""Every shipped config builds at its real input size and runs a step; the tools say what is wrong with others."""

import re
import subprocess

import pytest

from tas_mm.recipes.methods import methods
from tests.tools import ROOT, run_tool

LEFT = {'_base_', 'suites', 'detection', 'segmentation'}  # the last two have tests of their own, with their toolboxes
CONFIGS = [str(p.relative_to(ROOT)) for p in sorted(ROOT.glob('configs/**/*.py')) if not LEFT & {*p.parts}]
ALWAYS = {  # one of each kind of pair, and what is built differently; `make test-all` checks all of them
    'configs/benchmark/cnn_to_mixer.py',
    'configs/benchmark/teachers/swin.py',
    'configs/benchmark/vit_to_cnn.py',
    'configs/quickstart/student.py',
    'configs/quickstart/tas.py',
    'configs/quickstart/teacher.py',
    'configs/tas/convnext_to_swin_p_cifar100.py',
    'configs/tas/deit_s_to_deit_t.py',
    'configs/tas/mixer_to_deit_t.py',
    'configs/tas/mixer_to_mobilenetv2_cifar100.py',
    'configs/tas/r34_to_r18.py',
    'configs/tas/r50_to_resmlp.py',
    'configs/tas/swin_to_r18_explicit.py',
    'configs/tas/swin_to_resmlp_cifar100.py',
    'configs/tas/vit_s_to_r18_cifar100.py',
}


def tool(name: str, *args: str) -> subprocess.CompletedProcess:
    return run_tool(f'tools/{name}', *args)


PRODUCTS = {  # pair -> methods that are tried on it
    'swin_to_r18_cifar100': list(methods()),
    'convnext_to_deit_t_cifar100': ['kd', 'ofa', 'fitnet', 'rsd', 'scalekd', 'tas_light'],
}
ALWAYS_PRODUCTS = {('swin_to_r18_cifar100', 'phis'), ('convnext_to_deit_t_cifar100', 'ofa')}


@pytest.fixture(scope='module')
def products(request, tmp_path_factory):
    """Answers of check_config for every pair and method that was asked for, written as a config of two bases."""
    asked = (item for item in request.session.items if item.originalname == 'test_a_pair_takes_a_step_by_any_method')
    folder, files = tmp_path_factory.mktemp('products'), {}
    for pair, method in (item.callspec.params['product'] for item in asked):
        bases = [f'tas_mm::tas/{pair}.py', f'tas_mm::_base_/distillers/{method}.py']
        files[pair, method] = folder / f'{pair}_{method}.py'
        files[pair, method].write_text(f'_base_ = {bases}\n')
    result = tool('check_config.py', *map(str, files.values()))
    found = re.split(r'^\[\d+/\d+\] (.*)\n', result.stdout, flags=re.MULTILINE)[1:]
    assert len(found) == 2 * len(files), result.stdout + result.stderr
    return dict(zip(files, found[1::2]))


@pytest.mark.parametrize(
    'product',
    [
        pytest.param((pair, method), id=f'{pair}-{method}', marks=[] if always else pytest.mark.all_configs)
        for pair, names in PRODUCTS.items()
        for method in names
        for always in [(pair, method) in ALWAYS_PRODUCTS]
        if method != 'alone'
    ],
)
def test_a_pair_takes_a_step_by_any_method(products, product):
    assert '\nok\n' in products[product], products[product]
    assert re.search(r'unused_parameters +0\.0000', products[product])


@pytest.fixture(scope='module')
def reports(request):
    """Return what check_config prints for the selected configs, in one process."""
    asked = (item for item in request.session.items if item.originalname == 'test_config_builds_and_runs_a_step')
    configs = [item.callspec.params['config'] for item in asked]
    result = tool('check_config.py', *configs)
    found = re.split(r'^\[\d+/\d+\] (.*)\n', result.stdout, flags=re.MULTILINE)[1:]
    assert found[::2] == configs, result.stdout + result.stderr
    return dict(zip(configs, found[1::2]))


@pytest.mark.parametrize(
    'config', [pytest.param(c, marks=[] if c in ALWAYS else pytest.mark.all_configs) for c in CONFIGS]
)
def test_config_builds_and_runs_a_step(reports, config):
    assert '\nok\n' in reports[config], reports[config]
    assert 'one step' in reports[config]
    assert re.search(r'unused_parameters +0\.0000', reports[config])


def test_check_config_describes_the_pair():
    out = tool('check_config.py', 'configs/quickstart/tas.py', '--explicit').stdout
    for words in (
        r'teacher: VisionTransformer \(attention\), images of 32x32',
        r'student: ResNet_CIFAR \(cnn\)',
        r'3 +backbone\.layer3 +64 +8x8',
        r'projector +L2GProjector, 64 @ 8x8 to 64 @ 8x8',
        r'student +whole +own +701\.47 k +701\.47 k +35\.\d\d M',
        r'student +feature +ModuleInputs +head\.fc',
        r'distill\.loss_as_kd +OFALoss +1',
        r"connectors=dict\(assistant=dict\(type='tas_mm\.HybridAssistant'\)\)",
    ):
        assert re.search(words, out), f'{words} not in\n{out}'


def test_check_config_fails_with_the_key_and_goes_on(tmp_path):
    bad = tmp_path / 'bad.py'
    bad.write_text(f"_base_ = '{ROOT}/configs/quickstart/tas.py'\nmodel = dict(distiller=dict(paths={{'x': 1}}))\n")
    none = tmp_path / 'none.py'
    none.write_text('x = 1\n')
    result = tool('check_config.py', str(bad), 'nowhere.py', 'configs/quickstart/tas.py', str(none))
    assert result.returncode == 1
    assert "FAILED: ValueError: model.distiller.paths: unknown path 'x'. Expected one of TS, TA, AS" in result.stdout
    assert "FAILED: FileNotFoundError: config 'nowhere.py' does not exist" in result.stdout
    assert '\nok\n' in result.stdout
    assert f'FAILED: ValueError: {none} has no `model`' in result.stdout
    assert f'3 of 4 configs fail: {bad}, nowhere.py, {none}' in result.stdout


def test_image_size_of_the_pipeline_is_compared_with_the_networks(tmp_path):
    bad = tmp_path / 'bad.py'
    bad.write_text(
        f"_base_ = '{ROOT}/configs/quickstart/tas.py'\n"
        "pipeline = [dict(type='Resize', scale=48), dict(type='PackInputs')]\n"
        'train_dataloader = dict(dataset=dict(dataset=dict(pipeline=pipeline)))\n'
    )
    result = tool('check_config.py', str(bad))
    assert result.returncode == 1
    assert (
        'images of (48, 48), but the assistant was built for (32, 32). Set model.distiller.input_size' in result.stdout
    )


def test_benchmark_step_compares_with_the_first_config():
    config = 'configs/quickstart/tas.py'
    result = tool('benchmark_step.py', config, config, '--batch-size', '4', '--rounds', '2')
    assert result.returncode == 0, result.stderr
    first, second, where = result.stdout.strip().splitlines()[-3:]
    assert re.search(r'^ *tas +\d+\.\d\d +1\.00 \(1\.00 to 1\.00\) +1\.00 +\d+ +1\.00 +0\.77 M$', first)
    assert re.search(r'^ *tas +\d+\.\d\d +\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\) +1\.00 +', second)
    assert where.startswith('cpu, batch 4, 2 rounds, ')


def test_the_profile_accounts_for_the_whole_step():
    result = tool('benchmark_step.py', '--profile', 'configs/quickstart/tas.py', '--batch-size', '4', '--rounds', '1')
    assert result.returncode == 0, result.stderr
    shares = re.findall(r'^ *(\w[\w ]*?) +[\d.]+ +([\d.]+)% +([\d.]+)%$', result.stdout, flags=re.MULTILINE)
    assert [name for name, _, _ in shares][:3] == ['teacher forward', 'student forward', 'assistant forward']
    for column in (1, 2):
        assert sum(float(share[column]) for share in shares) == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize('name', ['train.py', 'test.py'])
def test_tools_know_the_options_that_mm_users_know(name):
    text = tool(name, '--help').stdout
    options = ['--work-dir', '--amp', '--cfg-options', '--launcher']
    options += ['--resume', '--auto-scale-lr'] if name == 'train.py' else ['--out']
    assert all(option in text for option in options)


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_scripts_are_executable_and_say_how_to_use_them(script):
    result = subprocess.run([ROOT / 'tools' / script], capture_output=True, text=True)
    assert result.returncode != 0
    assert 'usage:' in result.stderr
