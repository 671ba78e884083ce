"""Pictures of what detectors find: boxes that are right, wrong and missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .figures import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {
    'found': dict(edgecolor=COLOURS[5], linestyle='-'),
    'wrong': dict(edgecolor=COLOURS[4], linestyle='--'),
    'missed': dict(edgecolor='white', linestyle=':'),
}
"""What a box is -> its looks: colours of Okabe and Ito that stand out from photos, and a line of its own."""


class Judged(NamedTuple):
    """Boxes of one image, each ``(N, 4)``: left, top, right and bottom in pixels.

    Attributes:
        found (np.ndarray): Predictions that meet a true box.
        wrong (np.ndarray): Predictions that meet none, or one that a surer prediction has taken.
        missed (np.ndarray): True boxes that no prediction meets.
    """

    found: np.ndarray
    wrong: np.ndarray
    missed: np.ndarray


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes ``(N, 4)`` with boxes ``(M, 4)``: ``(N, M)``."""
    corner, end = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    both = (end - corner).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return both / (areas[0][:, None] + areas[1] - both).clip(1e-9)


def judge(predicted: np.ndarray, scores: np.ndarray, true: np.ndarray, least: float = 0.5) -> Judged:
    """Sort boxes of one class: the surest prediction first takes the true box that it overlaps most.

    Args:
        predicted (np.ndarray): Predicted boxes ``(N, 4)``.
        scores (np.ndarray): Their scores ``(N, )``.
        true (np.ndarray): True boxes ``(M, 4)``.
        least (float): The least overlap that counts, as in AP50. Defaults to 0.5.
    """
    free = overlaps(predicted, true)
    taken = np.zeros(len(predicted), dtype=bool)
    for i in np.argsort(-scores, kind='stable'):
        if len(true) and free[i].max() >= least:
            taken[i] = True
            free[:, free[i].argmax()] = -1
    missed = free[0] >= 0 if len(predicted) else np.ones(len(true), dtype=bool)
    return Judged(predicted[taken], predicted[~taken], true[missed])


def detections_figure(images: Sequence[np.ndarray], rows: dict[str, Sequence[Judged]], title: str) -> Figure:
    """One row a detector, one column an image.

    Args:
        images (sequence): Images ``(H, W, 3)``, RGB of uint8.
        rows (dict): Name of a detector -> its judged boxes, one entry an image.
        title (str): Above all.
    """
    from matplotlib.patches import Patch

    figure = new_figure(3.2 * len(images), 3.1 * len(rows) + 0.9)
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for (name, judged), row in zip(rows.items(), grid):
        for image, boxes, axes in zip(images, judged, row):
            _draw(axes, image, boxes)
        row[0].set_ylabel(name)
    figure.suptitle(title)
    legend = [Patch(facecolor='#44553a', linewidth=2, label=name, **style) for name, style in STYLES.items()]
    figure.legend(handles=legend, loc='outside lower center', ncols=len(legend))
    return figure


def _draw(axes: Axes, image: np.ndarray, judged: Judged) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(image)
    axes.set_xticks([]), axes.set_yticks([])
    counts = ', '.join(f'{len(boxes)} {name}' for name, boxes in judged._asdict().items())
    axes.set_title(counts, fontsize='medium')
    for name, boxes in judged._asdict().items():
        for left, top, right, bottom in boxes:
            axes.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=1.6, **STYLES[name])
            )
