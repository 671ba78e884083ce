"""Any method on any pair: by ``--method``, by two bases, and in the copy of the config that a run leaves."""

import runpy
import sys
from pathlib import Path

import pytest

from tas_mm.analysis.trial import build_model
from tas_mm.config import read_config
from tas_mm.recipes.methods import find_method, methods, put_method
from tas_mm.student import student_config

ROOT = Path(__file__).parents[2]
PAIR = str(ROOT / 'configs/quickstart/tas.py')
KD = str(ROOT / 'configs/_base_/distillers/kd.py')


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Run tools/train.py in this process, up to the runner; the config that it would run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))

    def train(*options: str):
        found = []
        monkeypatch.setattr('mmengine.runner.Runner.from_cfg', found.append)
        monkeypatch.setattr('tas_mm.engine.launch.train', lambda runner: None)
        monkeypatch.setattr('tas_mm.engine.prerequisites.require', lambda *args, **kwargs: None)
        monkeypatch.setattr(sys, 'argv', ['train.py', *options])
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
        return found[0]

    return train


@pytest.mark.parametrize('name', [name for name in methods() if name != 'alone'])
def test_a_method_replaces_the_distiller_and_nothing_else(name):
    plain, config = read_config(PAIR), read_config(PAIR)
    put_method(config, find_method(name))
    assert config.model.pop('distiller') == read_config(methods()[name]).distiller
    plain.model.pop('distiller')
    assert config.to_dict() == plain.to_dict()


def test_the_copy_of_the_config_has_the_method_and_the_work_folder_its_name(train, tmp_path):
    config = train(PAIR, '--method', 'kd', '--cfg-options', 'model.distiller.terms.kd.tau=4')
    assert config.work_dir == 'work_dirs/tas_kd'
    config.dump(tmp_path / 'copy.py')
    copy = train(str(tmp_path / 'copy.py'))
    assert copy.model == config.model
    assert copy.model.distiller.terms.kd == dict(type='mmrazor.KLDivergence', tau=4, loss_weight=1.0)
    assert copy.work_dir == train(str(tmp_path / 'copy.py'), '--method', 'kd').work_dir == 'work_dirs/tas_kd'
    assert train(str(tmp_path / 'copy.py'), '--method', 'rkd').work_dir == 'work_dirs/tas_kd_rkd'


def test_alone_trains_the_student_of_the_pair(train):
    plain, alone = read_config(PAIR), train(PAIR, '--method', 'alone')
    assert alone.work_dir == 'work_dirs/tas_alone'
    assert student_config(alone).model == student_config(plain).model
    assert alone.model.type == 'ImageClassifier'
    build_model(alone)


def test_a_config_of_ones_own_takes_a_method_from_a_file_of_ones_own(train, tmp_path):
    (tmp_path / 'mine.py').write_text(
        f"_base_ = '{ROOT}/configs/quickstart/student.py'\n"
        "model = dict(_delete_=True, type='tas_mm.TAS', architecture=_base_.model, teacher='swin-tiny_16xb64_in1k')\n"
    )
    (tmp_path / 'soft.py').write_text(
        "distiller = dict(type='tas_mm.PairDistiller', terms=dict(kl=dict(type='KLDivergence', tau=9)))\n"
    )
    config = train('mine.py', '--method', 'soft.py')
    assert config.model.distiller.terms.kl.tau == 9
    assert config.work_dir == 'work_dirs/mine_soft'


@pytest.mark.parametrize(
    ('config', 'method', 'error'),
    [
        ('tas.py', 'kdd', r"--method kdd: unknown method 'kdd'. Expected one of alone, dense, .*, unic, or a file"),
        ('tas.py', 'nowhere.py', r"--method nowhere.py: config 'nowhere.py' does not exist"),
        ('tas.py', PAIR.replace('tas.py', 'student.py'), r'distiller=None. Expected `distiller = dict\(type='),
        ('student.py', 'kd', r"--method kd: .*student.py: model.type='ImageClassifier'. Expected a distillation"),
    ],
)
def test_what_is_not_a_method_or_not_a_pair_is_named(train, config, method, error):
    with pytest.raises(SystemExit, match=error):
        train(PAIR.replace('tas.py', config), '--method', method)


def test_two_bases_are_a_pair_with_a_method(tmp_path):
    config = tmp_path / 'both.py'
    for pair, lines in (
        (PAIR, ''),
        (PAIR, 'model = dict(distiller=dict(_delete_=True, **_base_.distiller))\n'),
        (PAIR, 'model = dict(distiller=_base_.distiller)\n'),
        (str(ROOT / 'configs/benchmark/cnn_to_cnn.py'), ''),
    ):
        config.write_text(f"_base_ = ['{pair}', '{KD}']\n{lines}")
        expected = read_config(pair)
        put_method(expected, 'tas_mm::_base_/distillers/kd.py')
        assert read_config(str(config)).model == expected.model, lines


def test_the_size_at_which_the_teacher_sees_images_stays_with_the_pair(train, tmp_path):
    sized = tmp_path / 'sized.py'
    sized.write_text(f"_base_ = '{PAIR}'\nmodel = dict(distiller=dict(teacher_size=(48, 48)))\n")
    assert train(str(sized), '--method', 'kd').model.distiller.teacher_size == (48, 48)
    both = tmp_path / 'both.py'
    both.write_text(f"_base_ = ['{sized}', '{KD}']\n")
    distiller = read_config(str(both)).model.distiller
    assert (distiller.type, distiller.teacher_size) == ('tas_mm.PairDistiller', (48, 48))


def test_two_methods_in_one_config_are_named(tmp_path):
    config = tmp_path / 'both.py'
    config.write_text(f"_base_ = ['{PAIR}', '{KD}']\nmodel = dict(distiller=dict(paths=dict(TA=0)))\n")
    with pytest.raises(ValueError, match='model.distiller is a TASDistiller with options of its own, and the base'):
        read_config(str(config))
