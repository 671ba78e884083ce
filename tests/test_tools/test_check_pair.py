"""tools/check_pair.py, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))


def run(*args):
    return subprocess.run(
        [sys.executable, 'tools/check_pair.py', *args], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_a_good_pair():
    done = run('timm:test_vit', 'mmpretrain:resnet18_8xb32_in1k', '--input-size', '160', '--classes', '5')
    assert done.returncode == 0, done.stderr
    for expected in ('model.blocks.4', 'backbone.layer3', 'L2GProjector', '5 classes', 'distill.loss_as_kd', ': fine'):
        assert expected in done.stdout


def test_an_unknown_name_names_the_nearest():
    done = run('timm:resnet81', 'timm:test_resnet')
    assert done.returncode == 1
    assert "'timm:resnet81' is no classifier of timm; nearest: timm:resnet18" in done.stderr


def test_the_report_counts_what_works_in_all_roles():
    from coverage_sweep import report

    works = dict(source='timm', module='a', name='timm:a', roles=['early', 'late', 'teacher', 'student'])
    fails = dict(source='timm', module='b', name='timm:b', roles=['early'], reason='because')
    text = report([works, fails])
    assert '**1 of 2 timm model families (50 %) and 0 of 0 MMPretrain backbones work in all four roles.**' in text
    assert '| b | b |  |  |  | yes | no | no | no | because |' in text
