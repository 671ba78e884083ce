"""Hyperparameters of a training run: optimizer, schedule and augmentation for the student's family.

Recipes follow OFA-KD's (arXiv 2310.19444), which the paper uses: SGD for CNNs, AdamW for transformers and MLPs, with
strong augmentation if the run is long enough. They are made for large batches, so the learning rate is scaled:
linearly for SGD (arXiv 1706.02677), with the square root for AdamW (arXiv 2205.10287). The user chooses the epochs, and
everything else depends on them. So one number of the written config changes the length of a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tas_mm.models.stages import StageView

from .data import OwnData
from .weights import head_layers


@dataclass
class Recipe:
    """Settings of a training run besides networks and data.

    Attributes:
        epochs (int): Number of passes over the training images.
        batch_size (int): Number of images per step, at most the size of the data set.
        size (int): Height and width of the images.
        workers (int): Number of processes that load data.
        seed (int): Seed of the run.
        amp (bool): Whether to train in mixed precision, which needs a GPU. Defaults to False.
    """

    epochs: int
    batch_size: int
    size: int
    workers: int
    seed: int
    amp: bool = False


def optimizer(family: str, batch_size: int, amp: bool) -> dict:
    """Return the ``optim_wrapper`` for a student.

    Args:
        family (str): The student's family: ``'cnn'``, ``'attention'`` or ``'mlp'``.
        batch_size (int): Images in a step.
        amp (bool): Whether to train in mixed precision.
    """
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


def head_optimizer(view: StageView, batch_size: int, amp: bool) -> dict:
    """Return the ``optim_wrapper`` that trains only the head: all other layers get a learning rate of 0.

    Args:
        view (StageView): View of the network.
        batch_size (int): Images in a step.
        amp (bool): Whether to train in mixed precision.
    """
    keys = {'.': dict(lr_mult=0.0), **{name: dict(lr_mult=1.0) for name in head_layers(view)}}
    wrapper = dict(
        optimizer=dict(type='AdamW', lr=_rounded(4e-3 * math.sqrt(batch_size / 1024)), weight_decay=0.0),
        paramwise_cfg=dict(custom_keys=keys),
    )
    return dict(type='AmpOptimWrapper', loss_scale='dynamic', **wrapper) if amp else wrapper


def schedule(family: str, epochs: int) -> list[dict]:
    """Return a warm-up (3 % of the epochs for a CNN, 7 % for others, as OFA-KD) and a cosine decay to 0.

    Args:
        family (str): The student's family.
        epochs (int): Length of the run.
    """
    warm_up = round(epochs * (0.03 if family == 'cnn' else 0.07))
    cosine = dict(type='CosineAnnealingLR', by_epoch=True, begin=warm_up, convert_to_iter_based=True)
    linear = dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=warm_up, convert_to_iter_based=True)
    return [linear, cosine] if warm_up else [cosine]


def augments_strongly(family: str, epochs: int) -> bool:
    """Return True if a run uses strong augmentation: for transformers and MLPs, unless the run is short.

    Args:
        family (str): The student's family.
        epochs (int): Length of the run.
    """
    return family != 'cnn' and epochs >= 50


def pipelines(data: OwnData, size: int, normalization: dict, strong: bool) -> tuple[list[dict], list[dict]]:
    """Return train and test pipelines: crops and flips. Strong augmentation adds RandAugment and erasing.

    Args:
        data (OwnData): The data.
        size (int): Height and width of the images.
        normalization (dict): Mean and std of the network.
        strong (bool): Whether to use strong augmentation.
    """
    crop = dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.25, 1.0))
    flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
    train = [*data.load, crop, flip]
    if strong:
        mean = [round(value) for value in (normalization['mean'][::-1] if data.to_rgb else normalization['mean'])]
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
