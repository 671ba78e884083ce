"""Draw the boxes that detectors find, get wrong and miss on their test images.

    python projects/tree_crowns/draw_detections.py CONFIG CHECKPOINT...

All checkpoints are of detectors of one config. Each gets a row, named after its checkpoint's folder. The images are
those with the most true boxes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import mmcv
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import nn

import tas_mm  # noqa: F401  (adapts the stack)
from tas_mm.analysis.figures.canvas import BACKENDS, COLORS, new_figure, publish
from tas_mm.config import read_config, without_weights
from tas_mm.engine.checkpoints import safe_loading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {
    'found': dict(edgecolor=COLORS[5], linestyle='-'),
    'wrong': dict(edgecolor=COLORS[4], linestyle='--'),
    'missed': dict(edgecolor='white', linestyle=':'),
}
"""Line of each kind of box, in colors of Okabe and Ito that contrast with photos."""


class JudgedBoxes(NamedTuple):
    """Boxes of one image, each ``(N, 4)``: left, top, right and bottom in pixels.

    Attributes:
        found (np.ndarray): Predictions that match a true box.
        wrong (np.ndarray): Predictions that match none, or one that a prediction with a higher score has taken.
        missed (np.ndarray): True boxes that no prediction matches.
    """

    found: np.ndarray
    wrong: np.ndarray
    missed: np.ndarray


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of boxes ``(N, 4)`` with boxes ``(M, 4)``: ``(N, M)``."""
    corner, end = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    both = (end - corner).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return both / (areas[0][:, None] + areas[1] - both).clip(1e-9)


def judge(predicted: np.ndarray, scores: np.ndarray, true: np.ndarray, min_overlap: float = 0.5) -> JudgedBoxes:
    """Match boxes of one class: in the order of scores, each prediction takes the true box it overlaps most.

    Args:
        predicted (np.ndarray): Predicted boxes ``(N, 4)``.
        scores (np.ndarray): Their scores ``(N, )``.
        true (np.ndarray): True boxes ``(M, 4)``.
        min_overlap (float): Overlap from which on two boxes match. Defaults to 0.5, as in AP50.
    """
    free = overlaps(predicted, true)
    taken = np.zeros(len(predicted), dtype=bool)
    for i in np.argsort(-scores, kind='stable'):
        if len(true) and free[i].max() >= min_overlap:
            taken[i] = True
            free[:, free[i].argmax()] = -1
    missed = free[0] >= 0 if len(predicted) else np.ones(len(true), dtype=bool)
    return JudgedBoxes(predicted[taken], predicted[~taken], true[missed])


def detections_figure(images: Sequence[np.ndarray], rows: dict[str, Sequence[JudgedBoxes]], title: str) -> Figure:
    """Draw one row for each detector, one column for each image.

    Args:
        images (sequence): Images ``(H, W, 3)``, RGB of uint8.
        rows (dict): By name of the detector, its judged boxes, one entry for each image.
        title (str): Title of the figure.
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


def _draw(axes: Axes, image: np.ndarray, judged: JudgedBoxes) -> None:
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


def judge_image(model: nn.Module, sample: dict, min_score: float) -> JudgedBoxes:
    """Run a detector on a sample of the test set and judge its boxes, in pixels of the image file."""
    (result,) = model.test_step(pseudo_collate([deepcopy(sample)]))
    found = result.pred_instances[result.pred_instances.scores >= min_score].cpu().numpy()
    given = sample['data_samples'].gt_instances
    boxes, classes = given.bboxes.numpy(), given.labels.numpy()
    by_class = []
    for label in np.union1d(found.labels, classes):
        some = found[found.labels == label]
        by_class.append(judge(some.bboxes, some.scores, boxes[classes == label]))
    if not by_class:
        return judge(found.bboxes, found.scores, boxes)
    return JudgedBoxes(*map(np.concatenate, zip(*by_class)))


def fullest_samples(cfg: Config, number: int) -> list[dict]:
    """Return the test samples that have the most true boxes."""
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    counts = [len(dataset.get_data_info(i)['instances']) for i in range(len(dataset))]
    return [dataset[int(i)] for i in np.argsort(counts, kind='stable')[::-1][:number]]


def draw(cfg: Config, checkpoints: Sequence[str], number: int, min_score: float) -> Figure:
    """Load each checkpoint into the detector of a config, and draw what it finds."""
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        samples = fullest_samples(cfg, number)
        model = MODELS.build(ConfigDict(without_weights(cfg.model.to_dict()))).to(get_device()).eval()
    rows = {}
    for checkpoint in map(Path, checkpoints):
        with safe_loading():
            load_checkpoint(model, str(checkpoint), map_location='cpu', strict=True, logger='silent')
        folder = checkpoint.resolve().parent.name
        name = f'{folder}/{checkpoint.stem}' if folder in rows else folder
        rows[name] = [judge_image(model, sample, min_score) for sample in samples]
    images = [mmcv.imread(sample['data_samples'].img_path, channel_order='rgb') for sample in samples]
    title = f'Boxes with a score of at least {min_score:g}; found: overlap of at least 0.5 with a true box'
    return detections_figure(images, rows, title)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the detectors')
    parser.add_argument('checkpoints', nargs='+', help='their checkpoints')
    parser.add_argument('--images', type=int, default=3, help='number of images (default: 3)')
    parser.add_argument('--score', type=float, default=0.3, help='least score of a box (default: 0.3)')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/pictures'), help='default: work_dirs/pictures')
    parser.add_argument('--backend', nargs='+', default=[], choices=list(BACKENDS), help='send the picture there too')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')
    cfg = read_config(args.config)
    if cfg.get('default_scope') != 'mmdet':
        sys.exit(f'{args.config} is not a config of MMDetection')
    if args.images < 1:
        sys.exit(f'--images {args.images}: expected a number of at least 1')
    with torch.no_grad():
        figure = draw(cfg, args.checkpoints, args.images, args.score)
    for file in publish(dict(detections=figure), args.out, args.backend):
        print(file)


if __name__ == '__main__':
    main()
