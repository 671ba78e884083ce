"""A detector, and a data set of four images."""

import json
from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from PIL import Image


def build_detector(model: dict) -> torch.nn.Module:
    """Build in MMDetection's scope."""
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(ConfigDict(model))


def coco(folder: Path) -> None:
    """Four images with a bright box each, as COCO lays them out, with its 80 classes."""
    from mmdet.datasets import CocoDataset

    classes = [dict(id=i + 1, name=name) for i, name in enumerate(CocoDataset.METAINFO['classes'])]
    (folder / 'annotations').mkdir(parents=True)
    images, boxes = [], []
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 60, (64, 96, 3), dtype=np.uint8)
        pixels[16:48, 24:64] = 255
        images.append(dict(id=i, file_name=f'{i}.png', height=64, width=96))
        boxes.append(dict(id=i, image_id=i, category_id=1, bbox=[24, 16, 40, 32], area=1280, iscrowd=0))
        for split in ('train2017', 'val2017'):
            (folder / split).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / split / f'{i}.png')
    for split in ('train2017', 'val2017'):
        content = dict(images=images, annotations=boxes, categories=classes)
        (folder / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
