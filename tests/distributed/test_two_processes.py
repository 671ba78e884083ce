"""Two gloo processes against one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tas_mm.models import InfoNCELoss

ROOT = Path(__file__).parents[2]
WORKER = """
import sys, torch
import torch.distributed as dist
import tas_mm
from tas_mm.models import InfoNCELoss

dist.init_process_group('gloo')
rank, world = dist.get_rank(), dist.get_world_size()
data = torch.load(sys.argv[1])
a, b = (data[name].chunk(world)[rank].clone().requires_grad_() for name in 'ab')
loss_fn = InfoNCELoss(gather=data['gather']).double()
loss = loss_fn(a, b)
loss.backward()
torch.save(dict(loss=loss.detach(), grad=a.grad, scale=loss_fn.log_scale.grad), f'{sys.argv[1]}.{rank}')
"""


def launch(script: str, *args: str, processes: int = 2) -> subprocess.CompletedProcess:
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--nproc_per_node', str(processes)]
    command += ['--master_port', str(29500 + os.getpid() % 1000), script, *args]
    env = dict(os.environ, OMP_NUM_THREADS='1')
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    return result


@pytest.mark.parametrize('gather', [True, False])
def test_info_nce_over_processes(tmp_path, gather):
    """With gathered negatives two processes compute the loss and gradients of one on the whole batch."""
    script, path = tmp_path / 'worker.py', str(tmp_path / 'data.pt')
    script.write_text(WORKER)
    a, b = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    torch.save(dict(a=a, b=b, gather=gather), path)
    launch(str(script), path)
    parts = [torch.load(f'{path}.{rank}') for rank in range(2)]
    loss_fn = InfoNCELoss().double()
    batches = [(a, b)] if gather else [(a[:3], b[:3]), (a[3:], b[3:])]
    a.requires_grad_()
    expected = sum(loss_fn(a_, b_) for a_, b_ in ([(a, b)] if gather else [(a[:3], b[:3]), (a[3:], b[3:])]))
    expected = expected / len(batches)
    expected.backward()
    torch.testing.assert_close(sum(p['loss'] for p in parts) / 2, expected.detach())
    torch.testing.assert_close(torch.cat([p['grad'] for p in parts]) / 2, a.grad)  # DDP averages over processes
    torch.testing.assert_close(sum(p['scale'] for p in parts) / 2, loss_fn.log_scale.grad)


def test_dist_train_runs_on_two_processes_without_unused_parameters(tmp_path):
    """The script that users call; the teacher's weights are random, which is only said loudly."""
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHON=sys.executable, PORT=str(30500 + os.getpid() % 1000))
    command = ['tools/dist_train.sh', 'configs/quickstart/tas.py', '2', '--work-dir', str(tmp_path), '--cfg-options']
    command += ['model.teacher_ckpt=None', 'train_cfg.max_epochs=3', 'train_dataloader.dataset.times=4']
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    checkpoint = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == 6
    assert not any('teacher' in key or key.startswith('module') for key in checkpoint['state_dict'])
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'assistant.accuracy/top1' in log
