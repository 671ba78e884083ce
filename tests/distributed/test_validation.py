"""Student, assistant and teacher validated by two processes are what one process finds."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.registry import MODELS
from mmengine.runner import Runner

from tas_mm.engine.hooks import CheckTeacherHook
from tests import networks
from tests.integration.runs import PROCESSES
from tests.networks import SIZE, samples


class Data(torch.utils.data.Dataset):
    """Seven random images: two processes get four each, the first one twice."""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        image = torch.randn(3, SIZE, SIZE, generator=generator)
        return dict(inputs=image, data_samples=samples([i % 5])[0])


DIGITS = dict(
    type='tas_mm.Digits',
    split='train',
    num_labeled=15,
    pipeline=[dict(type='mmpretrain.Resize', scale=SIZE), dict(type='mmpretrain.PackInputs')],
)
AGREEMENT = ('cka', 'neighbors', 'cosine', 'retrieval')


def validate(folder: Path) -> dict:
    """Metrics of all networks, and what CheckTeacherHook measures of the teacher."""
    from mmpretrain.evaluation import Accuracy  # noqa: F401  (registers the metric)

    torch.manual_seed(0)
    cfg = dict(type='tas_mm.TAS', architecture=networks.resnet_cifar(), teacher=networks.vit())
    algorithm = MODELS.build(cfg)
    runner = Runner(
        model=algorithm,
        work_dir=str(folder),
        val_dataloader=dict(
            dataset=Data(), batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        val_cfg=dict(type='tas_mm.TASValLoop', agreement=True, probe=dict(train=DIGITS, val=DIGITS, kinds='knn')),
        val_evaluator=dict(type='mmpretrain.Accuracy', topk=(1, 2), collect_device='cpu'),
        default_hooks=dict(logger=None, checkpoint=None),
        experiment_name=folder.name,
        log_level='ERROR',
    )
    metrics = runner.val_loop.run()
    CheckTeacherHook().before_train(runner)
    return dict(metrics, **{f'checked.{key}': value for key, value in runner.val_loop.teacher_metrics.items()})


def work(rank: int, folder: Path) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    torch.save(validate(folder / str(rank)), folder / f'{rank}.pt')
    dist.destroy_process_group()


@pytest.mark.long
def test_two_processes_find_what_one_finds(tmp_path):
    processes = [PROCESSES.Process(target=work, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    expected = validate(tmp_path / 'alone')
    for process in processes:
        process.join()
        assert process.exitcode == 0
    roles = ('', 'assistant.', 'teacher.')
    accuracies = {f'{role}accuracy/top{k}' for role in (*roles, 'checked.') for k in (1, 2)}
    probed = {f'{role}agreement/{name}' for role in roles[:2] for name in AGREEMENT}
    assert expected.keys() == accuracies | probed | {f'{role}knn/top1' for role in roles}
    assert expected['checked.accuracy/top1'] == expected['teacher.accuracy/top1']
    for rank in range(2):
        assert torch.load(tmp_path / f'{rank}.pt') == pytest.approx(expected, rel=1e-4)
