"""Bad inputs, and what each gets. ``python -m tests.test_bad_inputs`` prints them as docs/reliability.md shows them."""

from __future__ import annotations

import errno
import os
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmcv import imwrite
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.utils.data import ConcatDataset, DataLoader

from tas_mm.config import read_config
from tas_mm.datasets import Digits, LabeledSubset, ShareSampler
from tas_mm.engine.checkpoints import atomic_write, latest_checkpoint
from tas_mm.engine.hooks import CheckFiniteHook, CheckTeacherHook
from tas_mm.engine.loader_checks import check_loader
from tas_mm.recipes.data import find_images
from tests import networks
from tests.networks import SIZE, samples

ROOT = Path(__file__).parents[1]
NAN = float('nan')


class Case(NamedTuple):
    """A bad input."""

    group: str
    given: str
    error: type[BaseException]
    message: str
    """Text of the error; '...' stands for parts that differ from run to run."""
    do: Callable[[Path], object]


CASES: list[Case] = []


def case(group: str, given: str, error: type[BaseException], message: str) -> Callable:
    """Register what a function, which is given an empty folder, does as a bad input."""

    def register(do: Callable[[Path], object]) -> Callable:
        CASES.append(Case(group, given, error, message, do))
        return do

    return register


def table(group: str) -> str:
    """The cases of a group as a Markdown table."""
    lines = ['| bad input | error |', '| --- | --- |']
    for one in CASES:
        if one.group == group:
            message = one.message.replace('|', r'\|')
            lines.append(f'| {one.given} | {one.error.__name__}: `{message}` |')
    return '\n'.join(lines)


@pytest.mark.parametrize('one', CASES, ids=lambda one: one.given)
def test_a_bad_input_gets_an_error_that_says_so(one, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pattern = '.*'.join(re.escape(part) for part in one.message.split('...'))
    with pytest.raises(one.error) as raised:
        one.do(tmp_path)
    assert re.search(pattern, str(raised.value), flags=re.DOTALL), str(raised.value)


def test_the_documentation_lists_these_cases():
    text = (ROOT / 'docs' / 'reliability.md').read_text()
    assert f'{len(CASES)} of them' in text
    for group in dict.fromkeys(one.group for one in CASES):
        assert table(group) in text, f'{group}: write what python -m tests.test_bad_inputs prints'


# ---- the config ------------------------------------------------------------------------------------------------------


def tas(student: dict | None = None, teacher: dict | str | None = None, **options):
    """Build a distillation of small networks."""
    student, teacher = student or networks.resnet_cifar(), teacher or networks.vit()
    return MODELS.build(dict(type='tas_mm.TAS', architecture=student, teacher=teacher, **options))


def distil(**options):
    """Build it with options of the distiller."""
    return tas(distiller=dict(type='tas_mm.TASDistiller', **options))


def changed(config: dict, part: str, **values) -> dict:
    """A network's config with values in a part of it changed."""
    config[part].update(values)
    return config


CONFIG = 'config'


def bad(given: str, message: str, error: type[BaseException] = ValueError, **options) -> None:
    """A bad option of the distiller."""
    case(CONFIG, given, error, message)(lambda folder: distil(**options))


@case(
    CONFIG,
    'a config file that does not exist',
    FileNotFoundError,
    "config 'nowhere.py' does not exist (looked for ...nowhere.py)",
)
def _(folder):
    read_config('nowhere.py')


@case(
    CONFIG,
    'a teacher named by a config that does not exist',
    FileNotFoundError,
    "model.teacher='nowhere.py': config 'nowhere.py' does not exist (looked for ...). Name a config file, or one "
    'of a package as mmpretrain::PATH',
)
def _(folder):
    tas(teacher='nowhere.py')


@case(
    CONFIG,
    'no teacher',
    TypeError,
    "model.teacher=None. Expected a model config, the path of a config, the name of one of MMPretrain's models, "
    'or a built model',
)
def _(folder):
    MODELS.build(dict(type='tas_mm.TAS', architecture=networks.resnet_cifar(), teacher=None))


@case(
    CONFIG,
    'an option of the model that there is not',
    ValueError,
    "model: unknown option 'teacher_checkpoint'. Closest names: teacher_ckpt, teacher_cache, teacher_weights",
)
def _(folder):
    tas(teacher_checkpoint='teacher.pth')


@case(
    CONFIG,
    'a backbone that cannot be cut into stages',
    ValueError,
    'model.architecture.backbone: LeNet5 has three convolutions only, so it cannot be cut into four stages',
)
def _(folder):
    tas(networks.classifier(dict(type='LeNet5', num_classes=-1), 84))


@case(CONFIG, 'a network of too few blocks', ValueError, 'model.teacher.backbone: 3 blocks cannot be cut into 4 stages')
def _(folder):
    teacher = networks.vit()
    teacher['backbone']['arch']['num_layers'] = 3
    tas(teacher=teacher)


bad(
    'an unknown option of the distiller',
    "model.distiller: unknown option 'featur_loss'. Closest names: feature_loss",
    featur_loss=None,
)
bad('an unknown path', "model.distiller.paths: unknown path 'ts'. Expected one of TS, TA, AS", paths=dict(ts=1))
bad('a negative weight', 'model.distiller.paths.TA=-1. Expected a number of at least 0', paths=dict(TA=-1))
bad('a weight of NaN', 'model.distiller.paths.TA=nan. Expected a number of at least 0', paths=dict(TA=NAN))
bad(
    'an unknown loss',
    "model.distiller.logit_loss.type='KLDivergenc' is not registered. Closest names: KLDivergence",
    logit_loss=dict(type='KLDivergenc'),
)
bad(
    'an option of a loss out of range',
    'model.distiller.distill_losses.loss_ts_kd: OFALoss: gamma=0.5. Expected at least 1',
    logit_loss=dict(gamma=0.5),
)
bad(
    'a temperature of NaN',
    'model.distiller.distill_losses.loss_ts_nce: InfoNCELoss: temperature=nan. Expected at least 0.01',
    feature_loss=dict(temperature=NAN),
)
bad(
    'an unknown option of a loss',
    "model.distiller.logit_loss: unknown option 'gama'. Closest names: gamma",
    logit_loss=dict(gama=1.5),
)
bad(
    'an unknown network to come first',
    "model.distiller.assistant.early='techer'. Expected one of None, 'student', 'teacher'",
    assistant=dict(early='techer'),
)
bad(
    'a fifth stage',
    'model.distiller.assistant.early_stages=5. Expected one of 1, 2, 3, 4',
    assistant=dict(early_stages=5),
)
bad(
    'an unknown projector',
    "model.distiller.assistant.projector.type='tas_mm.L2GProjectr' is not registered. Closest names: "
    'tas_mm.L2GProjector',
    assistant=dict(projector=dict(type='tas_mm.L2GProjectr')),
)
bad(
    'a term with an unknown reading',
    "model.distiller.terms.x.reads='stage5'. Expected one of logits, feature, stage1, stage2, stage3, stage4",
    terms=dict(x=dict(type='L2Loss', reads='stage5')),
)
bad(
    'a term without a loss',
    "model.distiller.terms.x={'reads': 'feature'}. Expected the config of a loss, with its type",
    terms=dict(x=dict(reads='feature')),
)
bad(
    'a recorder of a module that there is not',
    "model.distiller.student_recorders.x.source='neck2' is not a module of model.architecture. Closest names: neck",
    student_recorders=dict(x=dict(type='ModuleOutputs', source='neck2')),
)
bad(
    'an image size that is none',
    "model.distiller.input_size='64'. Expected a number of pixels, or height and width",
    input_size='64',
)


@case(
    CONFIG,
    'a validation interval below 0',
    ValueError,
    'val_cfg.teacher_interval=-1. Expected a whole number of at least 0, or None for never',
)
def _(folder):
    runner_of(folder, val_cfg=dict(type='tas_mm.TASValLoop', teacher_interval=-1)).val_loop  # noqa: B018


@case(
    CONFIG,
    "the teacher's accuracy as a fraction",
    ValueError,
    'default_hooks.check_teacher.expected=0.8. Expected a percentage above 1 and up to 100',
)
def _(folder):
    CheckTeacherHook(expected=0.8)


@case(CONFIG, 'a check every 0 iterations', ValueError, 'default_hooks.check_finite.interval=0. Expected at least 1')
def _(folder):
    CheckFiniteHook(interval=0)


# ---- the pair --------------------------------------------------------------------------------------------------------

PAIR = 'pair'


@case(
    PAIR,
    'a teacher of another class count',
    ValueError,
    'model.teacher has num_classes=1000 and model.architecture has num_classes=5, but a loss compares their logits. '
    'Set model.distiller.teacher_classes',
)
def _(folder):
    tas(teacher=changed(networks.vit(), 'head', num_classes=1000))


@case(
    PAIR,
    'a student for gray images, a teacher for color',
    ValueError,
    'model.teacher takes images of 3 channels and model.architecture of 1. Both get the same images: set in_channels',
)
def _(folder):
    tas(changed(networks.resnet_cifar(), 'backbone', in_channels=1))


@case(
    PAIR,
    'images too small for a network',
    ValueError,
    'model.teacher: images of 4x4 do not fit SwinTransformer ...Set model.distiller.teacher_size=(height, width)',
)
def _(folder):
    tas(teacher=networks.swin(), distiller=dict(type='tas_mm.TASDistiller', teacher_size=4))


# ---- checkpoints -----------------------------------------------------------------------------------------------------

FILES = 'files'


def weights(folder: Path, content: object = None) -> str:
    """A checkpoint."""
    path = folder / 'teacher.pth'
    torch.save(content, path)
    return str(path)


def state(teacher: dict | None = None) -> dict:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(teacher or networks.vit()).state_dict()


def damaged(folder: Path, harm: Callable[[bytearray], None]) -> str:
    """A checkpoint of the right weights, corrupted."""
    path = Path(weights(folder, state()))
    data = bytearray(path.read_bytes())
    harm(data)
    path.write_bytes(data)
    return str(path)


def cut_short(data: bytearray) -> None:
    del data[len(data) // 2 :]


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


@case(
    FILES,
    "the teacher's weights do not exist",
    FileNotFoundError,
    "model.teacher_ckpt='nowhere.pth' does not exist (relative to ...). Name a file or URL",
)
def _(folder):
    tas(teacher_ckpt='nowhere.pth')


@case(
    FILES, 'a file of no bytes', ValueError, "model.teacher_ckpt='...' cannot be read as a checkpoint: ...it is empty"
)
def _(folder):
    tas(teacher_ckpt=damaged(folder, bytearray.clear))


@case(
    FILES,
    'a file that was cut short',
    ValueError,
    "model.teacher_ckpt='...' cannot be read as a checkpoint: ...it is truncated or corrupt",
)
def _(folder):
    tas(teacher_ckpt=damaged(folder, cut_short))


@case(
    FILES,
    'a bit that flipped',
    ValueError,
    "model.teacher_ckpt='...' cannot be read as a checkpoint: ...the checksum of its part '...' is wrong",
)
def _(folder):
    tas(teacher_ckpt=damaged(folder, flip))


@case(
    FILES,
    'a file that is not a checkpoint',
    ValueError,
    "model.teacher_ckpt='...' cannot be read as a checkpoint: ...was not loaded: ...",
)
def _(folder):
    (folder / 'teacher.pth').write_text('Not found')
    tas(teacher_ckpt=str(folder / 'teacher.pth'))


@case(
    FILES,
    'a checkpoint without weights',
    ValueError,
    "model.teacher_ckpt='...' cannot be read as a checkpoint: ValueError: it has no weights. Got meta",
)
def _(folder):
    tas(teacher_ckpt=weights(folder, dict(meta=dict(epoch=3))))


@case(
    FILES,
    'a checkpoint that wants to run code',
    ValueError,
    "model.teacher_ckpt='...' cannot be read as a checkpoint: ...was not loaded: it contains 'posix.getcwd'. "
    'Expected only tensors',
)
def _(folder):
    tas(teacher_ckpt=weights(folder, dict(state_dict=state(), hooks=[os.getcwd])))


@case(
    FILES,
    'the weights of another network',
    ValueError,
    "model.teacher_ckpt='...' does not fit model.teacher: 80 of its parameters and statistics are not in the file",
)
def _(folder):
    tas(teacher_ckpt=weights(folder, state(networks.resnet_cifar())))


@case(
    FILES,
    'the weights of another class count',
    ValueError,
    "model.teacher_ckpt='...' does not fit model.teacher: ...size mismatch for head.layers.head.weight: "
    '...fine-tune the teacher on your data first',
)
def _(folder):
    tas(teacher_ckpt=weights(folder, state(changed(networks.vit(), 'head', num_classes=7))))


@case(
    FILES,
    'weights of which some are NaN',
    ValueError,
    "model.teacher_ckpt='...' has weights that are not finite (NaN or infinity), such as 'backbone.cls_token': "
    'its training failed',
)
def _(folder):
    content = state()
    content['backbone.cls_token'].fill_(NAN)
    tas(teacher_ckpt=weights(folder, content))


@case(
    FILES,
    'no checkpoint that is whole, to resume from',
    ValueError,
    'cannot resume: ...epoch_1.pth cannot be used: it is truncated or corrupt ...; and ... has no other '
    'checkpoint. Name one with --resume FILE',
)
def _(folder):
    damaged(folder, cut_short)
    os.rename(folder / 'teacher.pth', folder / 'epoch_1.pth')
    latest_checkpoint(folder)


@case(
    FILES,
    'another teacher, on resuming',
    ValueError,
    'this run began with another teacher. The fingerprint of its weights is ..., but that of model.teacher with '
    'model.teacher_ckpt is now ...set model.allow_teacher_change=True',
)
def _(folder):
    runner_of(folder, train=True).train()
    runner = runner_of(folder, load_from=str(folder / 'epoch_1.pth'), resume=True, train=True)
    with torch.no_grad():
        next(runner.model.teacher.network.parameters()).add_(1)
    runner.train()


@case(
    FILES,
    'weights of which some are NaN, in load_from',
    FloatingPointError,
    'weights are not finite before training: architecture.head.fc.bias. Check load_from, --resume and init_cfg',
)
def _(folder):
    content = tas().state_dict()
    content['architecture.head.fc.bias'].fill_(NAN)
    runner_of(folder, load_from=weights(folder, dict(state_dict=content)), train=True).train()


# ---- data ------------------------------------------------------------------------------------------------------------

DATA = 'data'


class Data(torch.utils.data.Dataset):
    """Random images, and labels that repeat."""

    metainfo = dict(classes=tuple('abcde'))

    def __init__(self, length=4, classes=5, size=SIZE):
        self.length, self.classes, self.size = length, classes, size

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        return dict(inputs=torch.randn(3, self.size, self.size), data_samples=samples([i % self.classes])[0])


def runner_of(folder: Path, dataset=None, batch_size=2, model=None, train=False, hooks=(), **options) -> Runner:
    """A runner of one epoch, with the hooks of the shipped configs."""
    loader = dict(num_workers=0, collate_fn=dict(type='default_collate'))
    training = dict(
        train_dataloader=dict(
            loader,
            dataset=Data() if dataset is None else dataset,
            batch_size=batch_size,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
    )
    validation = dict(
        val_dataloader=dict(loader, dataset=Data(), batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)),
        val_cfg=dict(type='tas_mm.TASValLoop'),
        val_evaluator=dict(type='mmpretrain.Accuracy'),
    )
    given = {**(training if train else validation), **options}
    names = ('CheckData', 'CheckFinite', 'Seed', 'CatchUpValidation', 'TeacherFingerprint', 'Checkpoint')
    shipped = {re.sub('(?<!^)(?=[A-Z])', '_', name).lower(): dict(type=f'tas_mm.{name}Hook') for name in names}
    return Runner(
        model=model() if model else tas(),
        work_dir=str(folder),
        default_hooks=shipped,
        custom_hooks=list(hooks),
        experiment_name=f'{folder.name}{len(os.listdir(folder))}',
        log_level='ERROR',
        **given,
    )


def pictures(folder: Path, harm: Callable[[Path], object] | None = None, packed: Callable | None = None) -> dict:
    """A data set of four image files, of which the third may come to harm, or all when they are tensors."""
    for i in range(4):
        imwrite(np.full((SIZE, SIZE, 3), i, np.uint8), str(folder / f'{i}.png'))
    (folder / 'list.txt').write_text(''.join(f'{i}.png {i}\n' for i in range(4)))
    if harm is not None:
        harm(folder / '2.png')
    pipeline = [dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]
    pipeline += [lambda data: packed(data) or data] if packed else []
    return dict(type='mmpretrain.CustomDataset', data_root=str(folder), ann_file='list.txt', pipeline=pipeline)


def data(given: str, message: str, dataset: Callable[[Path], object], **options) -> None:
    """Bad data to train on."""
    case(DATA, given, ValueError, message)(
        lambda folder: runner_of(folder, dataset(folder), train=True, **options).train()
    )


def bad_pictures(given: str, message: str, **harm) -> None:
    """Bad images to train on."""
    data(given, message, lambda folder: pictures(folder, **harm))


def with_inputs(make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict], None]:
    """A last transform that makes something of the image."""
    return lambda data: data.update(inputs=make(data['inputs']))


bad_pictures(
    'an image that cannot be read',
    'train_dataloader.dataset: image ...2.png cannot be read or transformed: ...resume with --resume',
    harm=lambda path: path.write_bytes(b'?'),
)
bad_pictures(
    'an image that is not there',
    'train_dataloader.dataset: image ...2.png cannot be read or transformed: FileNotFoundError: ',
    harm=os.remove,
)
bad_pictures(
    'an image with NaN',
    'train_dataloader.dataset: image ...png has values that are not finite (NaN or infinity)',
    packed=with_inputs(lambda x: x * NAN),
)
bad_pictures(
    'an image of a wrong type',
    'train_dataloader.dataset: image ...png has type torch.int64. Expected torch.uint8, with 0 to 255, or '
    'floating point',
    packed=with_inputs(lambda x: x.long()),
)
bad_pictures(
    'a gray image for a color network',
    'train_dataloader.dataset: image ...png has 1 channels, but model.architecture takes 3. Set color_type of '
    'LoadImageFromFile',
    packed=with_inputs(lambda x: x[:1]),
)
bad_pictures(
    'a label out of range',
    'train_dataloader.dataset: image ...png has label [5], but num_classes=5 allows 0 to 4',
    packed=lambda data: data['data_samples'].set_gt_label(5) and None,
)
bad_pictures(
    'a label below 0',
    'train_dataloader.dataset: image ...png has label [-1], but num_classes=5 allows 0 to 4',
    packed=lambda data: data['data_samples'].set_gt_label(-1) and None,
)
data(
    'an empty data set',
    'train_dataloader gives no batch: its data set has 0 images, batch_size=2 and drop_last=False. Check '
    'data_root, ann_file',
    lambda folder: Data(0),
)
data(
    'images of another size than built for',
    'train_pipeline gives images of (96, 96), but the assistant was built for (64, 64). Set '
    'model.distiller.input_size=(96, 96)',
    lambda folder: Data(size=96),
)
data(
    'labels out of range, without a pipeline to watch',
    'train_dataloader.dataset gives labels from 0 to 7, but model.architecture.head.num_classes=5 allows 0 to 4',
    lambda folder: Data(8, classes=8),
    batch_size=8,
)
data(
    'a last batch of one under batch norm',
    'train_dataloader gives a batch of 1 image (batch_size=2 of 5 images, drop_last=False), which is too few for '
    'BatchNorm2d and InfoNCELoss. Set drop_last=True',
    lambda folder: Data(5),
)
data(
    'batches of one under InfoNCE',
    'train_dataloader gives a batch of 1 image (batch_size=1 of 4 images, drop_last=False), which is too few for '
    'InfoNCELoss',
    lambda folder: Data(4),
    batch_size=1,
    model=lambda: tas(networks.vit()),
)


@case(DATA, 'an unknown part of the sample set', ValueError, 'Digits: split=\'val\'. Expected "train" or "test"')
def _(folder):
    Digits(split='val')


@case(
    DATA,
    'more labeled images than there are',
    ValueError,
    'LabeledSubset: start=0, stop=20 leave 20 of 1297 items, but num_labeled=30',
)
def _(folder):
    LabeledSubset(dict(type='tas_mm.Digits', split='train'), num_labeled=30, stop=20)


@case(
    DATA,
    'validation images without labels',
    ValueError,
    'val_evaluator needs labels, but the images of val_dataloader.dataset have none. Set val_evaluator=[]',
)
def _(folder):
    images = [dict(inputs=torch.zeros(3, SIZE, SIZE), data_samples=DataSample()) for _ in range(2)]
    loader = dict(dataset=images, batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    runner_of(folder, val_dataloader=loader).val()


@case(
    DATA,
    'a folder of images without labels, which is empty',
    ValueError,
    '--data ...: 0 of its 0 files are images that end with ...Expected at least 16 images',
)
def _(folder):
    find_images(str(folder))


@case(
    DATA,
    'shares of a batch for another number of data sets',
    ValueError,
    'train_dataloader.sampler.shares=(1, 2, 3). Expected 2 whole numbers of at least 1, one for each of the data sets',
)
def _(folder):
    ShareSampler(ConcatDataset([range(4), range(8)]), shares=(1, 2, 3))


# ---- training --------------------------------------------------------------------------------------------------------

RUN = 'run'


class SpoilWeights(Hook):
    """Makes a weight NaN in the middle of a run."""

    def __init__(self, name: str = ''):
        self.name = name

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 1:
            runner.model.state_dict()[self.name].fill_(NAN)


@case(
    RUN,
    'a loss that becomes NaN',
    FloatingPointError,
    'iteration 2 was not finite: loss=nan, student.loss=nan, distill.loss_ts_kd=nan, ...gradient=nan. There is '
    'no checkpoint yet. Try a lower learning rate',
)
def _(folder):
    runner_of(folder, train=True, hooks=[SpoilWeights('architecture.head.fc.bias')]).train()


@case(
    RUN,
    'a statistic that becomes NaN',
    FloatingPointError,
    'weights are no longer finite: architecture.backbone.layer1.0.bn1.running_mean. There is no checkpoint yet',
)
def _(folder):
    runner_of(folder, train=True, hooks=[SpoilWeights('architecture.backbone.layer1.0.bn1.running_mean')]).train()


@case(
    RUN,
    'a full disk',
    OSError,
    'epoch_2.pth was not saved (No space left on device: it takes ... MiB, but ... MiB are free). Earlier '
    'files are unchanged. Fix this and resume with --resume',
)
def _(folder):
    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'fsync', full)
        atomic_write(b'weights', folder / 'epoch_2.pth')


def tool(*arguments: str) -> None:
    """tools/train.py, on a machine without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['tools/train.py', *arguments])
        patch.setattr('tas_mm.engine.launch.get_device', lambda: 'cpu')
        patch.delenv('RANK', raising=False)
        runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')


QUICKSTART = str(ROOT / 'configs' / 'quickstart' / 'student.py')


@case(
    RUN,
    'mixed precision without a GPU',
    SystemExit,
    '--amp: MMEngine trains in mixed precision on a GPU only, but there is none here',
)
def _(folder):
    tool(QUICKSTART, '--amp')


@case(
    RUN,
    'a learning rate to scale, from a batch size that nobody names',
    SystemExit,
    '--auto-scale-lr: ...student.py has no auto_scale_lr=dict(base_batch_size=...)',
)
def _(folder):
    tool(QUICKSTART, '--auto-scale-lr')


@case(
    RUN,
    'a launcher that was not launched',
    SystemExit,
    '--launcher pytorch: start it with tools/dist_train.sh CONFIG PROCESSES, or with torchrun',
)
def _(folder):
    tool(QUICKSTART, '--launcher', 'pytorch')


@case(
    RUN,
    'processes that would get batches of different sizes',
    ValueError,
    'train_dataloader.sampler.round_up=False shares 9 images unevenly among 2 processes, which wait for each '
    'other in every iteration. Set round_up=True or drop_last=True',
)
def _(folder):
    sampler = DefaultSampler(Data(9), round_up=False)
    check_loader(DataLoader(sampler.dataset, 4, sampler=sampler), 'train_dataloader', processes=2)


if __name__ == '__main__':
    for group in dict.fromkeys(one.group for one in CASES):
        print(f'\n{group}\n\n{table(group)}')
