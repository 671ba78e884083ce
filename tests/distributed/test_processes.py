"""Two and four processes against one: :mod:`.cases` has what they compute."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from tas_mm.models import InfoNCELoss
from tests.distributed.cases import BATCH, PAIRS
from tests.tools import ROOT, run_tool

ENV = dict(os.environ, OMP_NUM_THREADS='1')


@pytest.fixture(scope='module')
def computed(tmp_path_factory):
    """Number of processes -> case -> name -> value."""
    folder = tmp_path_factory.mktemp('cases')
    result = run_tool('tests/distributed/cases.py', folder)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    return {world: torch.load(folder / f'{world}.pt') for world in (1, 2, 4)}


def assert_equal_but_for_rounding(several, one):
    assert several.keys() == one.keys()
    for name, value in one.items():
        # A value that should be zero, such as the gradient of a bias before a norm, differs by rounding.
        torch.testing.assert_close(several[name], value, rtol=1e-5, atol=1e-13, msg=lambda m, name=name: f'{name}: {m}')


@pytest.mark.parametrize('world', [2, 4])
@pytest.mark.parametrize('pair', PAIRS)
def test_losses_and_all_gradients_of_several_processes_are_those_of_one(computed, world, pair):
    """Under DDP without find_unused_parameters, with negatives from all processes."""
    assert len(computed[1][pair]) > 80  # seven losses; the rest are student, projector and what the losses learn
    assert_equal_but_for_rounding(computed[world][pair], computed[1][pair])


@pytest.mark.parametrize('world', [2, 4])
@pytest.mark.parametrize('pair', ['cnn from attention', 'attention from cnn'])
def test_batches_of_different_sizes_count_by_their_samples(computed, world, pair):
    assert_equal_but_for_rounding(computed[world][f'uneven {pair}'], computed[1][f'uneven {pair}'])
    assert_equal_but_for_rounding(computed[world]['info_nce uneven'], computed[1]['info_nce'])


@pytest.mark.parametrize('world', [2, 4])
def test_negatives_come_from_all_processes_or_from_ones_own(computed, world):
    assert_equal_but_for_rounding(computed[world]['info_nce'], computed[1]['info_nce'])
    a, b = torch.randn(2, BATCH, 5, generator=torch.Generator().manual_seed(2)).double()
    local = sum(InfoNCELoss().double()(*pair) for pair in zip(a.chunk(world), b.chunk(world))) / world
    torch.testing.assert_close(computed[world]['info_nce local']['loss'], local.detach())


@pytest.mark.parametrize('world', [2, 4])
def test_a_balanced_target_is_the_same_in_all_processes_and_that_of_one(computed, world):
    assert_equal_but_for_rounding(computed[world]['balance'], computed[1]['balance'])


@pytest.mark.parametrize('world', [2, 4])
def test_ddp_knows_every_trained_parameter_and_nothing_of_the_teacher(computed, world):
    assert computed[world]['in ddp'] == dict(computed[1]['in ddp'], teacher=0)


@pytest.mark.parametrize('world', [1, 2])
def test_accumulated_gradients_give_the_update_of_the_whole_batch(computed, world):
    """Accumulated batches equal the one that four processes take at once, since losses are means over samples."""
    assert_equal_but_for_rounding(computed[world]['accumulated'], computed[4]['accumulated'])


@pytest.mark.parametrize('world', [1, 2, 4])
@pytest.mark.parametrize('pair', ['cnn from attention', 'attention from cnn'])
def test_checkpointed_activations_give_the_same_under_ddp(computed, world, pair):
    assert_equal_but_for_rounding(computed[world][f'checkpointing {pair}'], computed[1][pair])


@pytest.mark.parametrize('pair', ['cnn from attention', 'attention from cnn'])
def test_a_sharded_teacher_and_a_sharded_optimizer_give_the_same_updates(computed, pair):
    """With the teacher's stages in the assistant late, and early. Stem and head stay whole."""
    two, one = dict(computed[2][f'{pair}, sharded']), dict(computed[1][f'{pair}, sharded'])
    assert two.pop('held') < 0.6 * one.pop('held')
    assert_equal_but_for_rounding(two, one)


FAKES = dict(
    # Runs the command once for every node, as Slurm does on as many machines.
    srun="""#!/usr/bin/env bash
for option in "$@"; do
    case $option in --nodes=*) export SLURM_NNODES=${option#*=} ;; --ntasks-per-node=*) TASKS=${option#*=} ;; esac
done
while [[ $1 == -* ]]; do shift; done
[[ $TASKS == 1 ]] || exit 3
export SLURM_STEP_NODELIST='node[0-1]' SLURM_JOB_ID=$FREE_JOB_ID
for ((SLURM_NODEID = SLURM_NNODES - 1; SLURM_NODEID > 0; SLURM_NODEID--)); do
    export SLURM_NODEID
    "$@" &
done
export SLURM_NODEID
"$@"
CODE=$?
wait
exit $CODE
""",
    scontrol='#!/usr/bin/env bash\n[[ $* == "show hostnames node[0-1]" ]] && echo 127.0.0.1 && echo 127.0.0.2\n',
)


RUN = """
_base_ = 'tas_mm::quickstart/tas.py'
model = dict(teacher_ckpt=None)
train_dataloader = dict(dataset=dict(times=4))
train_cfg = dict(max_epochs=3, val_interval=3)
custom_hooks = [dict(type='tas_mm.ShardTeacherHook')]
"""


def free_job_id() -> str:
    """Return a job number whose port, 20000 plus the number, is free."""
    for number in range(os.getpid() % 5000, 10000):
        with socket.socket() as probe:
            try:
                probe.bind(('', 20000 + number))
            except OSError:
                continue
            return str(number)
    raise RuntimeError('no free port from 20000 to 29999')


@pytest.mark.long
def test_slurm_starts_dist_train_on_every_node(tmp_path):
    """Two nodes with one process each, through both scripts that users call, with a sharded teacher.

    The teacher's weights are random, which only draws a warning.
    """
    (tmp_path / 'run.py').write_text(RUN)
    for name, script in FAKES.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    env = dict(ENV, PATH=f'{tmp_path}:{ENV["PATH"]}', PYTHON=sys.executable, GPUS='2', GPUS_PER_NODE='1')
    env['FREE_JOB_ID'] = free_job_id()
    command = ['tools/slurm_train.sh', 'gpus', 'tas', str(tmp_path / 'run.py'), '--work-dir', str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    checkpoint = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == 6  # each epoch has 200 images, of which each process takes half, 50 at a time
    assert len(checkpoint['meta']['teacher']) == 16  # the fingerprint, taken before the weights were spread
    assert not any('teacher' in key or key.startswith('module') for key in checkpoint['state_dict'])
    assert 'assistant.accuracy/top1' in next(tmp_path.glob('*/*.log')).read_text()


def test_dist_train_takes_one_node_where_no_other_is_named():
    command = ['tools/dist_train.sh', 'config.py', '8', '--resume']
    said = subprocess.run(command, cwd=ROOT, env=dict(ENV, PYTHON='echo'), capture_output=True, text=True).stdout
    assert '-m torch.distributed.run --nnodes=1 --node_rank=0 --standalone' in said
    assert said.endswith('--nproc_per_node=8 tools/train.py config.py --launcher pytorch --resume\n')
