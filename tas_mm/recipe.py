"""A complete training config for a pair and a data set: what ``tools/distill.py`` writes, runs and leaves behind.

Recipes follow OFA-KD's (arXiv 2310.19444), which the paper uses: SGD for CNNs, AdamW for transformers and MLPs, with
strong augmentation if the run is long enough. They are laid out for large batches, so the learning rate is scaled:
linearly for SGD (arXiv 1706.02677), with the square root for AdamW (arXiv 2205.10287). Epochs are the user's, and all
else counts from them, so that in the written config one number changes the length of a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from .config import read_config
from .inspect import build_classifier_from, classifier_config
from .models.stages import StagedClassifier, view_of
from .own_data import OwnData

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
LINE = 118

# ---- the networks ---------------------------------------------------------------------------------------------------


@dataclass
class Network:
    """A classifier laid out for the data.

    Attributes:
        name (str): As the user gave it.
        config (dict): Its model config, without weights and without a preprocessor.
        view (StagedClassifier): Its view, of a model with random weights.
        normalisation (dict): Mean and std that its trained weights want, in 0 to 255.
        weights (dict): What of a config would load its published weights; empty if there are none.
        known_classes (int): How many classes those weights know.
    """

    name: str
    config: dict
    view: StagedClassifier
    normalisation: dict
    weights: dict
    known_classes: int


def find_network(name: str, num_classes: int, size: int | None = None, option: str = '--student') -> Network:
    """Lay a network out for so many classes and images of a size.

    Args:
        name (str): ``timm:NAME``, ``mmpretrain:NAME`` or the path of a config.
        num_classes (int): Classes of the data.
        size (int, optional): Height and width of the images. Defaults to None: what the network declares, else 224.
        option (str): Where the name comes from, for error messages. Defaults to ``'--student'``.

    Raises:
        ValueError: If there is no such network, or it cannot take images of that size or be cut.
    """
    try:
        config = classifier_config(name, num_classes)
        view = view_of(build_classifier_from(config), size and (size, size), option)
        if size and (view.declared_size() or (size, size)) != (size, size):
            network = config if config['type'] == 'TimmClassifier' else config['backbone']
            network['img_size'] = size
            view = view_of(build_classifier_from(config), (size, size), option)
        view.stages  # noqa: B018  (a look at the images' way through it)
    except (ValueError, TypeError, AssertionError, RuntimeError, OSError) as error:
        at = f' with --size {size}' if size else ''
        raise ValueError(f'{option} {name}{at}: {error}') from error
    preprocessor = config.pop('data_preprocessor', None) or {}
    normalisation = {key: list(preprocessor[key]) for key in ('mean', 'std') if preprocessor.get(key) is not None}
    weights, known = {}, 0
    if name.startswith('timm:'):
        tag = view.net.pretrained_cfg
        normalisation = {key: [round(255 * value, 3) for value in tag[key]] for key in ('mean', 'std')}
        if tag.get('hf_hub_id') or tag.get('url'):
            weights, known = dict(pretrained=True), tag['num_classes']
    elif name.startswith('mmpretrain:'):
        from mmpretrain.apis.model import ModelHub

        published = ModelHub.get(name.partition(':')[2])
        if published.weights:
            weights = dict(init_cfg=dict(type='Pretrained', checkpoint=published.weights))
            known = _known_classes(published.config.model)
    return Network(name, config, view, normalisation or IMAGENET, weights, known)


def _known_classes(model: Any) -> int:
    """The first ``num_classes`` in a model config."""
    if isinstance(model, Mapping):
        return model.get('num_classes') or max((_known_classes(value) for value in model.values()), default=0)
    return 0


def why_no_weights(network: Network) -> str | None:
    """Fetch the published weights of a network, into the cache of its library; or say why they cannot be had."""
    try:
        if not network.weights:
            return 'none are published'
        if 'pretrained' in network.weights:
            build_classifier_from({**network.config, **network.weights})
        else:
            CheckpointLoader.load_checkpoint(network.weights['init_cfg']['checkpoint'], map_location='cpu')
    except Exception as error:
        return f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'
    return None


def head_fits(network: Network, checkpoint: str) -> bool:
    """Whether a file of weights fits a network with its classifier, or, False, but for its classifier.

    Raises:
        ValueError: If it fits in neither way.
    """
    option = f'--teacher-ckpt {checkpoint}'
    if not Path(checkpoint).is_file():
        raise ValueError(f'{option}: there is no such file; valid is a file with weights of {network.name}')
    try:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
    except Exception as error:
        raise ValueError(f'{option} cannot be read as a checkpoint: {type(error).__name__}: {error}') from error
    loaded = loaded.get('state_dict', loaded.get('model', loaded))
    loaded = {name.removeprefix('module.').removeprefix('architecture.'): value for name, value in loaded.items()}
    model = network.view.model
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    needed = {name for name, _ in model.named_parameters()}
    needed |= {name.removeprefix('model.') for name in needed}  # of timm's networks files do not name the wrapper
    heads = tuple(name.removeprefix('model.') for name in head_layers(network.view))
    wrong = [
        name for name, shape in wanted.items() if name in needed and getattr(loaded.get(name), 'shape', None) != shape
    ]
    others = [name for name in wrong if not name.removeprefix('model.').startswith(heads)]
    if others:
        seen = tuple(loaded[others[0]].shape) if others[0] in loaded else 'is not in it'
        raise ValueError(
            f'{option} does not fit {network.name}: of {len(others)} parameters besides the classifier, such as '
            f'{others[0]}, the file has none or of another shape ({seen}, wanted {tuple(wanted[others[0]])})'
        )
    return not wrong


def head_layers(view: StagedClassifier) -> list[str]:
    """Names of the layers that give the logits: one, or two where a distillation token has its own."""
    classifier = view.classifier
    parent, _, name = classifier.rpartition('.')
    twins = [
        child for child, _ in view.model.get_submodule(parent).named_children() if child.startswith(f'{name}_dist')
    ]
    return [classifier, *(f'{parent}.{twin}' for twin in twins)]


# ---- the recipe -----------------------------------------------------------------------------------------------------


@dataclass
class Recipe:
    """What a training run needs besides networks and data.

    Attributes:
        epochs (int): Passes over the training images.
        batch_size (int): Images a step, at most as many as there are.
        size (int): Height and width of the images.
        workers (int): Processes that load data.
        seed (int): The run's.
        amp (bool): Whether to train in mixed precision, which takes a GPU.
    """

    epochs: int
    batch_size: int
    size: int
    workers: int
    seed: int
    amp: bool = False


def optimizer(family: str, batch_size: int, amp: bool) -> dict:
    """The ``optim_wrapper`` for a student of a family ('cnn', 'attention', 'mlp')."""
    if family == 'cnn':
        wrapper = dict(
            optimizer=dict(type='SGD', lr=_rounded(0.1 * batch_size / 512), momentum=0.9, weight_decay=5e-4),
            paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))),
        )
    else:
        wrapper = dict(
            optimizer=dict(type='AdamW', lr=_rounded(2e-3 * math.sqrt(batch_size / 1024)), weight_decay=0.05),
            paramwise_cfg=dict(
                norm_decay_mult=0.0,
                bias_decay_mult=0.0,
                flat_decay_mult=0.0,
                custom_keys=dict(
                    cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0), log_scale=dict(decay_mult=0.0)
                ),
            ),
            clip_grad=dict(max_norm=5.0),
        )
    wrapper['constructor'] = 'tas_mm.JoinedOptimWrapperConstructor'
    return dict(type='AmpOptimWrapper', loss_scale='dynamic', **wrapper) if amp else wrapper


def head_optimizer(view: StagedClassifier, batch_size: int, amp: bool) -> dict:
    """The ``optim_wrapper`` that trains the layers of ``head_layers`` alone: all others get a rate of 0."""
    keys = {'.': dict(lr_mult=0.0), **{name: dict(lr_mult=1.0) for name in head_layers(view)}}
    wrapper = dict(
        optimizer=dict(type='AdamW', lr=_rounded(4e-3 * math.sqrt(batch_size / 1024)), weight_decay=0.0),
        paramwise_cfg=dict(custom_keys=keys),
    )
    return dict(type='AmpOptimWrapper', loss_scale='dynamic', **wrapper) if amp else wrapper


def schedule(family: str, epochs: int) -> list[dict]:
    """Warm-up (3 % of the epochs for a CNN, 7 % for others, as OFA-KD's) and a cosine down to 0."""
    warm_up = round(epochs * (0.03 if family == 'cnn' else 0.07))
    cosine = dict(type='CosineAnnealingLR', by_epoch=True, begin=warm_up, convert_to_iter_based=True)
    linear = dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=warm_up, convert_to_iter_based=True)
    return [linear, cosine] if warm_up else [cosine]


def strong(family: str, epochs: int) -> bool:
    """Whether a run takes strong augmentation: of transformers and MLPs, unless it is too short to gain from it."""
    return family != 'cnn' and epochs >= 50


def pipelines(data: OwnData, size: int, normalisation: dict, strong: bool) -> tuple[list[dict], list[dict]]:
    """Train and test pipeline: crops and flips, and where augmentation is to be strong RandAugment and erasing."""
    crop = dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.25, 1.0))
    flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
    train = [*data.load, crop, flip]
    if strong:
        mean = [round(value) for value in (normalisation['mean'][::-1] if data.to_rgb else normalisation['mean'])]
        train += [
            dict(
                type='RandAugment',
                policies='timm_increasing',
                num_policies=2,
                total_level=10,
                magnitude_level=9,
                magnitude_std=0.5,
                hparams=dict(pad_val=mean),
            ),
            dict(type='RandomErasing', erase_prob=0.25, mode='const', max_area_ratio=1 / 3, fill_color=mean),
        ]
    short_edge = dict(type='ResizeEdge', scale=math.ceil(size * 8 / 7) if size >= 112 else size, edge='short')
    test = [*data.load, short_edge, dict(type='CenterCrop', crop_size=size), dict(type='PackInputs')]
    return [*train, dict(type='PackInputs')], test


def _rounded(value: float) -> float:
    return float(f'{value:.2g}')


# ---- the config -----------------------------------------------------------------------------------------------------


class Name(str):
    """A name of a variable in a written config."""

    __repr__ = str.__str__


def source(value: Any, indent: int = 0, used: int = 0) -> str:
    """A value as Python text: on one line if it fits, else one item a line."""
    inner = ' ' * (indent + 4)
    if isinstance(value, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in value):
        items = [(f'{key}=', item) for key, item in value.items()]
        ends = 'dict(', ')'
    elif isinstance(value, Mapping):
        items = [(f'{key!r}: ', item) for key, item in value.items()]
        ends = '{', '}'
    elif isinstance(value, (list, tuple)):
        items = [('', item) for item in value]
        ends = ('[', ']') if isinstance(value, list) else ('(', ',)' if len(value) == 1 else ')')
    else:
        return repr(value)
    line = ends[0] + ', '.join(key + source(item, 0, -(10**9)) for key, item in items) + ends[1]
    if indent + used + len(line) <= LINE:
        return line
    lines = [f'{inner}{key}{source(item, indent + 4, len(key))},\n' for key, item in items]
    return f'{ends[0]}\n{"".join(lines)}{" " * indent}{ends[1][-1]}'


def data_parts(data: OwnData, family: str, recipe: Recipe, normalisation: dict) -> dict[str, dict[str, Any]]:
    """The parts of a config about the data, by comment."""
    train, test = pipelines(data, recipe.size, normalisation, strong(family, recipe.epochs))
    loader = dict(batch_size=recipe.batch_size, num_workers=recipe.workers)
    val = dict(
        **loader,
        dataset=dict(**data.val, pipeline=Name('test_pipeline')),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    topk = (1, 5) if len(data.classes) > 9 else (1,)
    title = f'Data: {data.sizes[0]} training and {data.sizes[1]} validation images of {len(data.classes)} classes.'
    return {
        title: dict(
            data_preprocessor=dict(num_classes=len(data.classes), **normalisation, to_rgb=data.to_rgb),
            train_pipeline=train,
            test_pipeline=test,
            train_dataloader=dict(
                **loader,
                drop_last=True,
                dataset=dict(**data.train, pipeline=Name('train_pipeline')),
                sampler=dict(type='DefaultSampler', shuffle=True),
            ),
            val_dataloader=val,
            test_dataloader=Name('val_dataloader'),
            val_evaluator=dict(type='Accuracy', topk=topk),
            test_evaluator=Name('val_evaluator'),
        )
    }


def run_parts(
    optim_wrapper: dict, family: str, data: OwnData, recipe: Recipe, val_cfg: dict, work_dir: str | Path
) -> dict[str, dict[str, Any]]:
    """The parts of a config about the run, by comment."""
    steps = max(1, data.sizes[0] // recipe.batch_size)
    # About twenty validations, the last of them at the end.
    interval = next(n for n in range(max(1, recipe.epochs // 20), 0, -1) if recipe.epochs % n == 0)
    runtime = _without_scopes(read_config('tas_mm::_base_/default_runtime.py').to_dict())
    runtime['default_hooks']['logger']['interval'] = min(50, steps)
    runtime['default_hooks']['checkpoint'].update(interval=interval, max_keep_ckpts=1)
    runtime.update(randomness=dict(seed=recipe.seed), work_dir=str(work_dir))
    scale = 'linearly' if family == 'cnn' else 'with the square root'
    return {
        f'Recipe. For another batch size change lr {scale}; for another length max_epochs alone.': dict(
            optim_wrapper=optim_wrapper,
            param_scheduler=schedule(family, recipe.epochs),
            train_cfg=dict(by_epoch=True, max_epochs=recipe.epochs, val_interval=interval),
            val_cfg=val_cfg,
            test_cfg=dict(),
        ),
        'What is saved and logged.': dict(custom_imports=dict(imports=['tas_mm']), **runtime),
    }


def _without_scopes(config: Any) -> Any:
    """A config without the notes that MMEngine makes about where its parts come from."""
    if isinstance(config, Mapping):
        return {key: _without_scopes(value) for key, value in config.items() if key != '_scope_'}
    return [_without_scopes(value) for value in config] if isinstance(config, list) else config


def teacher_parts(
    teacher: Network, start: dict, data: OwnData, recipe: Recipe, head_only: bool, work_dir: str | Path
) -> dict[str, dict[str, Any]]:
    """Config that makes the teacher: fine-tunes its head on weights that are there, or trains all of it.

    Args:
        teacher (Network): The teacher.
        start (dict): What of its config loads the weights to start from; empty for none.
        data (OwnData): The data.
        recipe (Recipe): The recipe.
        head_only (bool): Whether only the classifier trains.
        work_dir (str | Path): Folder for logs and checkpoints.
    """
    if head_only:
        family, optim_wrapper = 'cnn', head_optimizer(teacher.view, recipe.batch_size, recipe.amp)
        title = 'The teacher, whose weights but for its head stay: the rates of all other layers are 0.'
    else:
        family, optim_wrapper = teacher.view.family, optimizer(teacher.view.family, recipe.batch_size, recipe.amp)
        title = 'The teacher, all of which is trained.'
    return {
        title: dict(model=dict(teacher.config, **start)),
        **data_parts(data, family, recipe, teacher.normalisation),
        **run_parts(optim_wrapper, family, data, recipe, dict(), work_dir),
    }


def alone_parts(distillation: Mapping[str, Mapping[str, Any]], work_dir: str | Path) -> dict[str, dict[str, Any]]:
    """Config of the student trained alone, which differs from a distillation's in nothing but the model.

    Args:
        distillation (mapping): As :func:`distill_parts` gives it.
        work_dir (str | Path): Folder for logs and checkpoints.
    """
    (_, networks), *others = distillation.items()
    parts = {comment: dict(settings) for comment, settings in others}
    next(settings for settings in parts.values() if 'work_dir' in settings)['work_dir'] = str(work_dir)
    return {'The student, without a teacher.': dict(model=networks['student']), **parts}


def distill_parts(
    teacher: Network, start: dict, student: Network, data: OwnData, recipe: Recipe, work_dir: str | Path
) -> dict[str, dict[str, Any]]:
    """Config of the distillation.

    Args:
        teacher (Network): The teacher.
        start (dict): Where its weights come from: ``teacher_ckpt``, or what in its own config loads them.
        student (Network): The student.
        data (OwnData): The data.
        recipe (Recipe): The recipe.
        work_dir (str | Path): Folder for logs and checkpoints.
    """
    family = student.view.family
    architecture = dict(student.config)
    if architecture['type'] == 'TimmClassifier':
        architecture['loss'] = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
    if strong(family, recipe.epochs):
        mixing = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])
        architecture.setdefault('train_cfg', mixing)
    preprocessor = dict(num_classes=len(data.classes), **teacher.normalisation, to_rgb=data.to_rgb)
    ckpt = {key: value for key, value in start.items() if key == 'teacher_ckpt'}
    loading = {key: value for key, value in start.items() if key != 'teacher_ckpt'}
    model = dict(
        type='tas_mm.TAS',
        architecture=Name('student'),
        teacher=Name('teacher'),
        **ckpt,
        distiller=dict(type='tas_mm.TASDistiller', input_size=(recipe.size, recipe.size)),
    )
    return {
        f'Networks: {teacher.name} teaches {student.name}.': dict(
            teacher=dict(teacher.config, **loading, data_preprocessor=preprocessor), student=architecture, model=model
        ),
        **data_parts(data, family, recipe, student.normalisation),
        **run_parts(
            optimizer(family, recipe.batch_size, recipe.amp),
            family,
            data,
            recipe,
            dict(type='tas_mm.TASValLoop'),
            work_dir,
        ),
    }


def write_config(path: str | Path, parts: Mapping[str, Mapping[str, Any]], title: str) -> Path:
    """Write a config, part by part, and make sure that it reads back.

    Args:
        path (str | Path): File to write.
        parts (mapping): Comment -> settings.
        title (str): First line of the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f'"""{title}"""\n'
    for comment, settings in parts.items():
        text += f'\n# {comment}\n'
        text += ''.join(f'{key} = {source(value, 0, len(key) + 3)}\n' for key, value in settings.items())
    path.write_text(text)
    Config.fromfile(path)
    return path
