"""Computations by one, two and four processes, and how far they agree.

``python -m tests.distributed.cases FOLDER`` writes 1.pt, 2.pt and 4.pt and prints the table of docs/distributed.md.

Everything is in float64. Batch norm is in eval mode: its statistics are those of a process's own batch, and torch's
SyncBN, which would make them one, needs GPUs.
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine import dist
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import Tensor

import tas_mm  # noqa: F401
from tas_mm.engine.hooks.distillation.shard_teacher_hook import shard
from tas_mm.models import TAS, InfoNCELoss
from tas_mm.models.losses.balance import Balance
from tests import networks
from tests.networks import NUM_CLASSES, SIZE, samples

BATCH = 8
UNEVEN = {1: [8], 2: [5, 3], 4: [3, 1, 2, 2]}
PAIRS = {
    'cnn from attention': (lambda **kwargs: networks.resnet(norm_eval=True, **kwargs), networks.swin),
    'attention from cnn': (lambda **kwargs: checkpointing(networks.swin(0.0), **kwargs), networks.resnet),
    'cnn from mlp': (lambda **kwargs: networks.resnet(norm_eval=True, **kwargs), networks.mixer),
    'mlp from cnn': (networks.mixer, networks.resnet),
}


def checkpointing(network: dict, with_cp: bool = False) -> dict:
    """A network whose backbone runs its blocks again in the backward pass."""
    network['backbone']['with_cp'] = with_cp
    return network


def algorithm(name: str, options: dict | None = None, **distiller: Any) -> TAS:
    """The same pair, with the same weights, in every process."""
    torch.manual_seed(0)
    student, teacher = PAIRS[name]
    cfg = dict(
        type='tas_mm.TAS',
        architecture=student(**(options or {})),
        teacher=teacher(),
        distiller=dict(type='tas_mm.TASDistiller', **distiller),
    )
    model = MODELS.build(cfg)
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():  # some start at zero, such as residual branches, and hide what is before
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.double().train()


def share(x: Any, sizes: list[int] | None = None) -> Any:
    """This process's part of a batch of images, features or labels."""
    rank, world = dist.get_rank(), dist.get_world_size()
    sizes = sizes or [len(x) // world] * world
    return x[sum(sizes[:rank]) : sum(sizes[: rank + 1])]


def batch() -> tuple[Tensor, list]:
    """The whole batch."""
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).double()
    return images, samples([i % NUM_CLASSES for i in range(BATCH)])


def wrapped(model: TAS, **options: Any) -> TAS | MMDistributedDataParallel:
    """As the runner does it; alone the model itself. Unused parameters are an error."""
    return MMDistributedDataParallel(model, broadcast_buffers=False, **options) if dist.is_distributed() else model


def mean(value: Tensor) -> Tensor:
    """The average over the processes."""
    value = value.detach().clone()
    dist.all_reduce(value, 'mean')
    return value


def losses_and_gradients(model: TAS, sizes: list[int] | None = None, only: str = '', **options: Any) -> dict:
    """Return every loss of one batch over all processes, and every gradient as DDP gives it."""
    images, labels = batch()
    ddp = wrapped(model, **options)
    losses = ddp(share(images, sizes), share(labels, sizes), mode='loss')
    # Those that are left out count nothing, yet reach their parameters: DDP waits for all gradients.
    model.parse_losses({k: v if only in k else 0 * v for k, v in losses.items()})[0].backward()
    found = {name: mean(value) for name, value in losses.items() if only in name}
    return dict(found, **{f'grad {name}': p.grad for name, p in model.named_parameters() if p.requires_grad})


def info_nce(gather: bool, sizes: list[int] | None = None) -> dict:
    """The bare loss on given features."""
    a, b = torch.randn(2, BATCH, 5, generator=torch.Generator().manual_seed(2)).double()
    a.requires_grad_()
    loss_fn = InfoNCELoss(gather=gather).double()
    loss = loss_fn(share(a, sizes), share(b, sizes))
    loss.backward()
    return dict(loss=mean(loss), features=mean(a.grad), scale=mean(loss_fn.log_scale.grad))


def balance(sizes: list[int] | None = None) -> dict:
    """Return the balanced target of two batches of features, refreshed after each."""
    features = torch.randn(2, BATCH, 5, generator=torch.Generator().manual_seed(3)).double() * torch.arange(1, 6)
    module = Balance(5, refresh=1).double()
    for y in features:
        module(share(y, sizes))
    return dict(center=module.center, matrix=module.matrix)


def accumulated(steps: int, **distiller: Any) -> dict:
    """Weights after one update from the whole batch, in so many parts one after the other."""
    model = algorithm('cnn from attention', **distiller)
    cfg = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=steps)
    optimizer, ddp = build_optim_wrapper(model, cfg), wrapped(model)
    images, labels = (share(x) for x in batch())
    size = len(images) // steps
    for i in range(0, len(images), size):
        with optimizer.optim_context(ddp):  # as train_step(), whose preprocessor would make float32 of the images
            losses = ddp(images[i : i + size], labels[i : i + size], mode='loss')
        optimizer.update_params(model.parse_losses(losses)[0])
    return {name: p.detach() for name, p in model.named_parameters()}


def updated(model: TAS, optimizer: dict) -> dict:
    """With a sharded teacher: losses of two steps, the weights, and how much of the teacher this process holds."""
    if dist.is_distributed():
        shard(model.teacher.network)
    ddp = wrapped(model)
    optimizer = build_optim_wrapper(ddp, dict(optimizer=optimizer))
    images, labels = batch()
    found = {}
    for i in range(2):
        losses = ddp(share(images), share(labels), mode='loss')
        optimizer.update_params(model.parse_losses(losses)[0])
        found.update({f'{name} {i}': mean(value) for name, value in losses.items()})
    held = sum(getattr(p, '_local_tensor', p).numel() for p in model.teacher.network.parameters())
    return dict(found, held=torch.tensor(held), **{name: p.detach() for name, p in model.named_parameters()})


def in_ddp() -> dict:
    """How many tensors of the teacher DDP knows, and how many it knows in all."""
    model = algorithm('attention from cnn')
    ddp = wrapped(model)
    teacher = {x.data_ptr() for x in (*model.teacher.network.parameters(), *model.teacher.network.buffers())}
    if not dist.is_distributed():
        return dict(teacher=torch.tensor(0), parameters=torch.tensor(sum(p.requires_grad for p in model.parameters())))
    reduced, broadcast = ddp._module_parameters, [*ddp.parameters(), *ddp.modules_buffers[0], *ddp.buffers()]
    return dict(
        teacher=torch.tensor(sum(x.data_ptr() in teacher for x in [*reduced, *broadcast])),
        parameters=torch.tensor(len(reduced)),
    )


def results() -> dict[str, dict[str, Tensor]]:
    """All cases, by name."""
    world = dist.get_world_size()
    found = {name: losses_and_gradients(algorithm(name)) for name in PAIRS}
    for name in ('cnn from attention', 'attention from cnn'):
        found[f'uneven {name}'] = losses_and_gradients(algorithm(name), UNEVEN[world], only='nce')
        static = dict(static_graph=True) if dist.is_distributed() else {}
        found[f'checkpointing {name}'] = losses_and_gradients(algorithm(name, dict(with_cp=True)), **static)
    found['info_nce'] = info_nce(gather=True)
    found['info_nce uneven'] = info_nce(gather=True, sizes=UNEVEN[world])
    found['info_nce local'] = info_nce(gather=False)
    found['balance'] = balance(UNEVEN[world])
    found['accumulated'] = accumulated(2 if world < 4 else 1, feature_loss=None)
    found['in ddp'] = in_ddp()
    adam = dict(type='AdamW', lr=1e-3)
    zero = dict(adam, type='ZeroRedundancyOptimizer', optimizer_type='AdamW') if dist.is_distributed() else adam
    for name in ('cnn from attention', 'attention from cnn') if world < 4 else ():
        found[f'{name}, sharded'] = updated(algorithm(name), zero)
    return found


def difference(several: dict, one: dict, gradients: bool) -> float:
    """The largest difference in any tensor, relative to its largest element; those that ought to be zero left out."""
    names = [name for name in one if name.startswith('grad ') is gradients and one[name].abs().max() > 1e-12]
    return max(float((several[name] - one[name]).abs().max() / one[name].abs().max()) for name in names)


def print_table(folder: Path) -> None:
    """Agreement of the pairs, in Markdown."""
    one, two, four = (torch.load(folder / f'{world}.pt') for world in (1, 2, 4))
    print('| student from teacher | tensors | losses, 2 | gradients, 2 | losses, 4 | gradients, 4 |')
    print('| --- | --- | --- | --- | --- | --- |')
    for name in [name for name in one if name.endswith(tuple(PAIRS))]:
        cells = [difference(several[name], one[name], kind) for several in (two, four) for kind in (False, True)]
        print(f'| {name} | {len(one[name])} |', ' | '.join(f'{cell:.0e}' for cell in cells), '|')


def work(rank: int, world: int, folder: Path) -> None:
    """One process of so many."""
    torch_dist.init_process_group('gloo', f'file://{folder}/meeting{world}', rank=rank, world_size=world)
    found = results()
    if rank == 0:
        torch.save(found, folder / f'{world}.pt')
    torch_dist.destroy_process_group()


if __name__ == '__main__':
    MMLogger.get_current_instance().setLevel('ERROR')
    # Forked, so that the imports above, which take longer than all cases, are done once.
    context = multiprocessing.get_context('fork')
    for world in (1, 2, 4):
        processes = [context.Process(target=work, args=(rank, world, Path(sys.argv[1]))) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            sys.exit(f'{world} processes ended with {[process.exitcode for process in processes]}')
    print_table(Path(sys.argv[1]))
