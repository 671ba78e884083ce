"""Parts of a training config, by their comments: networks, data, recipe, and what is saved and logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tas_mm.config import read_config

from .data import OwnData
from .recipe import Recipe, augments_strongly, head_optimizer, optimizer, pipelines, schedule
from .sources import Network
from .writer import Name

LEAN = dict(early='teacher', late_stages=0)
"""Assistant for images without labels: the best one in projects/label_free, and the cheapest."""
Parts = dict[str, dict[str, Any]]
"""Settings of each part of a config by its comment."""


def data_parts(data: OwnData, family: str, recipe: Recipe, normalization: dict) -> Parts:
    """Return the parts of a config that concern the data.

    Args:
        data (OwnData): The data.
        family (str): The student's family, for the augmentation.
        recipe (Recipe): The recipe.
        normalization (dict): Mean and std of the network.
    """
    strong = bool(data.classes) and augments_strongly(family, recipe.epochs)  # it needs labels
    train, test = pipelines(data, recipe.size, normalization, strong)
    loader = dict(batch_size=recipe.batch_size, num_workers=recipe.workers)
    val = dict(
        **loader,
        dataset=dict(**data.val, pipeline=Name('test_pipeline')),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    topk = (1, 5) if len(data.classes) > 9 else (1,)
    kind = f'of {len(data.classes)} classes' if data.classes else 'without labels'
    if data.classes:
        evaluation = dict(
            test_dataloader=Name('val_dataloader'),
            val_evaluator=dict(type='Accuracy', topk=topk),
            test_evaluator=Name('val_evaluator'),
        )
    else:
        evaluation = dict(val_evaluator=[])
    return {
        f'Data: {data.sizes[0]} training and {data.sizes[1]} validation images {kind}.': dict(
            data_preprocessor=data.preprocessor(normalization),
            train_pipeline=train,
            test_pipeline=test,
            train_dataloader=dict(
                **loader,
                drop_last=True,
                dataset=dict(**data.train, pipeline=Name('train_pipeline')),
                sampler=dict(type='DefaultSampler', shuffle=True),
            ),
            val_dataloader=val,
            **evaluation,
        )
    }


def run_parts(
    optim_wrapper: dict, family: str, data: OwnData, recipe: Recipe, val_cfg: dict, work_dir: str | Path
) -> Parts:
    """Return the parts of a config that concern the run.

    Args:
        optim_wrapper (dict): The optimizer.
        family (str): The student's family, for the schedule.
        data (OwnData): The data.
        recipe (Recipe): The recipe.
        val_cfg (dict): The validation loop.
        work_dir (str | Path): Folder for logs and checkpoints.
    """
    steps = max(1, data.sizes[0] // recipe.batch_size)
    # About twenty validations, the last of them at the end.
    interval = next(n for n in range(max(1, recipe.epochs // 20), 0, -1) if recipe.epochs % n == 0)
    runtime = _without_scopes(read_config('tas_mm::_base_/default_runtime.py').to_dict())
    runtime['default_hooks']['logger']['interval'] = min(50, steps)
    runtime['default_hooks']['checkpoint'].update(interval=interval, max_keep_ckpts=1)
    runtime.update(randomness=dict(seed=recipe.seed), work_dir=str(work_dir))
    scale = 'linearly' if family == 'cnn' else 'with the square root'
    return {
        f'Recipe. For another batch size change lr {scale}; for another length only max_epochs.': dict(
            optim_wrapper=optim_wrapper,
            param_scheduler=schedule(family, recipe.epochs),
            train_cfg=dict(by_epoch=True, max_epochs=recipe.epochs, val_interval=interval),
            val_cfg=val_cfg,
            **(dict(test_cfg=dict()) if data.classes else {}),
        ),
        'What is saved and logged.': dict(custom_imports=dict(imports=['tas_mm']), **runtime),
    }


def _without_scopes(config: Any) -> Any:
    """Remove the scopes that MMEngine adds to parts of a config."""
    if isinstance(config, Mapping):
        return {key: _without_scopes(value) for key, value in config.items() if key != '_scope_'}
    return [_without_scopes(value) for value in config] if isinstance(config, list) else config


def teacher_parts(
    teacher: Network, start: dict, data: OwnData, recipe: Recipe, head_only: bool, work_dir: str | Path
) -> Parts:
    """Return the config of the teacher's training: of its head, on given weights, or of the whole network.

    Args:
        teacher (Network): The teacher.
        start (dict): Options of its config that load the weights to start from. Empty for random weights.
        data (OwnData): The data.
        recipe (Recipe): The recipe.
        head_only (bool): Whether only the classifier trains.
        work_dir (str | Path): Folder for logs and checkpoints.
    """
    if head_only:
        family, optim_wrapper = 'cnn', head_optimizer(teacher.view, recipe.batch_size, recipe.amp)
        title = 'The teacher. Only its head is trained: the learning rates of all other layers are 0.'
    else:
        family, optim_wrapper = teacher.view.family, optimizer(teacher.view.family, recipe.batch_size, recipe.amp)
        title = 'The teacher. The whole network is trained.'
    return {
        title: dict(model=dict(teacher.config, **start)),
        **data_parts(data, family, recipe, teacher.normalization),
        **run_parts(optim_wrapper, family, data, recipe, dict(), work_dir),
    }


def alone_parts(distillation: Mapping[str, Mapping[str, Any]], work_dir: str | Path) -> Parts:
    """Return the config of the student trained alone. It differs from the distillation's in the model only.

    Args:
        distillation (mapping): Result of :func:`distill_parts`.
        work_dir (str | Path): Folder for logs and checkpoints.
    """
    (_, networks), *others = distillation.items()
    parts = {comment: dict(settings) for comment, settings in others}
    next(settings for settings in parts.values() if 'work_dir' in settings)['work_dir'] = str(work_dir)
    return {'The student, without a teacher.': dict(model=networks['student']), **parts}


def distill_parts(
    teacher: Network,
    start: dict,
    student: Network,
    data: OwnData,
    recipe: Recipe,
    work_dir: str | Path,
    val_cfg: dict | None = None,
) -> Parts:
    """Return the config of the distillation.

    Args:
        teacher (Network): The teacher.
        start (dict): Source of the teacher's weights: ``teacher_ckpt``, or options of its config that load them.
        student (Network): The student.
        data (OwnData): The data.
        recipe (Recipe): The recipe.
        work_dir (str | Path): Folder for logs and checkpoints.
        val_cfg (dict, optional): The validation loop. Defaults to ``TASValLoop`` without options.
    """
    family = student.view.family
    architecture = dict(student.config)
    if data.classes:
        smooth = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
        architecture = student.source.with_loss(architecture, smooth)
    if data.classes and augments_strongly(family, recipe.epochs):
        mixing = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])
        architecture.setdefault('train_cfg', mixing)
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
            teacher=dict(teacher.config, **loading, data_preprocessor=data.preprocessor(teacher.normalization)),
            student=architecture,
            model=model,
        ),
        **data_parts(data, family, recipe, student.normalization),
        **run_parts(
            optimizer(family, recipe.batch_size, recipe.amp),
            family,
            data,
            recipe,
            val_cfg or dict(type='tas_mm.TASValLoop'),
            work_dir,
        ),
    }


def unlabeled_parts(
    teacher: Network,
    start: dict,
    student: Network,
    data: OwnData,
    probe: OwnData | None,
    recipe: Recipe,
    work_dir: str | Path,
) -> Parts:
    """Return the config of a distillation on images without labels, with networks without a head.

    Args:
        teacher (Network): The teacher.
        start (dict): Source of the teacher's weights: ``teacher_ckpt``, or options of its config that load them.
        student (Network): The student.
        data (OwnData): The images.
        probe (OwnData, optional): Labeled images for k-NN and a linear probe.
        recipe (Recipe): The recipe.
        work_dir (str | Path): Folder for logs and checkpoints.
    """
    val_cfg: dict[str, Any] = dict(type='tas_mm.TASValLoop')
    if probe is not None:
        pipeline = dict(pipeline=Name('test_pipeline'))
        val_cfg['probe'] = dict(train=dict(**probe.train, **pipeline), val=dict(**probe.val, **pipeline))
    parts = distill_parts(teacher, start, student, data, recipe, work_dir, val_cfg)
    networks = next(iter(parts.values()))
    networks['model']['calculate_student_loss'] = False
    networks['model']['distiller']['assistant'] = LEAN
    return parts


def fine_tuning_parts(
    student: Network, data: OwnData, recipe: Recipe, weights: str | Path | None, work_dir: str | Path
) -> Parts:
    """Return the config that trains a student with a head on labeled images.

    Args:
        student (Network): The student.
        data (OwnData): The labeled images.
        recipe (Recipe): The recipe.
        weights (str | Path, optional): Weights of its backbone to start from. None for random ones.
        work_dir (str | Path): Folder for logs and checkpoints.
    """
    family = student.view.family
    wrapper = optimizer(family, recipe.batch_size, recipe.amp)
    parts = {
        'The student, with a head.': dict(model=dict(student.config)),
        **data_parts(data, family, recipe, student.normalization),
        **run_parts(wrapper, family, data, recipe, dict(), work_dir),
    }
    return parts if weights is None else {**parts, 'Where it starts from.': dict(load_from=str(weights))}
