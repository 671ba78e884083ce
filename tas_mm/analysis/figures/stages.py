"""Figures of stage outputs: how similar they are (CKA), and where each stage responds (attention)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..features import Features, attention
from .canvas import COLOR_MAP, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def stage_names(features: dict[str, Features]) -> list[str]:
    """Name every map of all networks, in order: T1 to T4, AP (the projector), A4, S1 to S4."""
    names = []
    for role, found in features.items():
        first = min(found.maps)
        names += [f'{role[0].upper()}{"P" if role == "assistant" and i == first else i}' for i in found.maps]
    return names


def cka_figure(panels: dict[str, Tensor], names: Sequence[str]) -> Figure:
    """Draw the CKA between all stages, one panel per moment of training.

    Args:
        panels (dict): Title to CKA ``(M, M)``.
        names (sequence): Names of the ``M`` stages, from :func:`stage_names`.
    """
    side = 0.9 + 0.42 * len(names)
    figure = new_figure(side * len(panels) + 0.8, side + 0.9)
    rows = figure.subplots(1, len(panels), squeeze=False)[0]
    borders = [i - 0.5 for i in range(1, len(names)) if names[i][0] != names[i - 1][0]]
    for axes, (title, values) in zip(rows, panels.items()):
        image = axes.imshow(values.numpy(), vmin=0, vmax=1, cmap=COLOR_MAP)
        for (i, j), value in np.ndenumerate(values.numpy()):
            axes.text(
                j,
                i,
                f'{abs(value):.2f}',
                ha='center',
                va='center',
                fontsize=7,
                color='white' if value < 0.55 else 'black',
            )
        for border in borders:
            axes.axhline(border, color='white', linewidth=2)
            axes.axvline(border, color='white', linewidth=2)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel('stage of teacher (T), assistant (A, P its projector), student (S)', fontsize=8)
    figure.colorbar(image, ax=list(rows), label='CKA (0 unrelated, 1 alike)', shrink=0.85)
    return figure


def features_figure(
    photo: np.ndarray, features: dict[str, Features], early: str, classes: Sequence[str] | None = None
) -> Figure:
    """Draw the attention of each stage of each network on one photo.

    Args:
        photo (np.ndarray): The image as the networks see it, RGB ``(H, W, 3)`` of uint8.
        features (dict): Features of only that image, by network.
        early (str): Network that gives the assistant its early stages.
        classes (sequence, optional): Names of the classes. Defaults to None: class numbers.
    """
    figure = new_figure(10.5, 0.9 + 2.0 * len(features))
    grid = figure.subplots(len(features), 5, squeeze=False)
    for row, (role, found) in zip(grid, features.items()):
        _show(row[0], photo, role if found.logits is None else f'{role}: {_prediction(found.logits[0], classes)}')
        for stage, axes in enumerate(row[1:], 1):
            if stage not in found.maps:
                axes.axis('off')
                axes.text(0.5, 0.5, f"the {early}'s", ha='center', va='center', fontsize=10)
                continue
            feature = found.maps[stage]
            projected = role == 'assistant' and stage == min(found.maps)
            title = f'{"projector" if projected else f"stage {stage}"}, {feature.shape[-2]}x{feature.shape[-1]}'
            _show(axes, photo, title)
            heat = axes.imshow(
                attention(feature)[0].cpu().numpy(),
                extent=(-0.5, photo.shape[1] - 0.5, photo.shape[0] - 0.5, -0.5),
                interpolation='bilinear',
                cmap=COLOR_MAP,
                vmin=0,
                vmax=1,
                alpha=0.7,
            )
    figure.colorbar(heat, ax=list(grid[:, -1]), label='attention (0 least, 1 most in the photo)', shrink=0.7)
    return figure


def _prediction(logits: Tensor, classes: Sequence[str] | None) -> str:
    score, label = logits.softmax(dim=0).max(dim=0)
    name = classes[int(label)] if classes else f'class {int(label)}'
    return f'{name}, {100 * float(score):.0f} %'


def _show(axes: Axes, photo: np.ndarray, title: str) -> None:
    axes.imshow(photo)
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
