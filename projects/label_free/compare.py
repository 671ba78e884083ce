"""Compare ways to learn from a headless teacher without labels, on crops of aerial photos.

    make tree-crowns
    python projects/label_free/compare.py --seeds 3

An ImageNet MobileNetV2 without its head teaches a small ResNet and a small ViT on 4,110 crops of the photos' training
parts. All methods have the same images, steps, optimizer and seeds. Then, on labeled crops (a tree's crown in the
middle, or none) of the other parts: k-NN and a linear probe on frozen features, and fine-tuning with a tenth of the
labels and with all, beside the same student from scratch, for the same steps.

The teacher is frozen and the pool is small, so what it says of every view of every crop is computed once, and all runs
read it. Every run appends a line to results.jsonl and is not repeated; --table prints the means.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from PIL import Image
from torch import Tensor, nn

from tas_mm.analysis.tables import markdown
from tas_mm.config import read_config
from tas_mm.engine.probes import knn_accuracy, linear_accuracy
from tas_mm.models import TAS
from tas_mm.models.knowledge import Observation
from tas_mm.models.stages import Observer, view_of
from tas_mm.models.teachers import build_teacher
from tas_mm.registry import MODELS

DATA = Path('data/tree_crowns')
OUT = Path(__file__).with_name('results.jsonl')
SIZE, BATCH, FEW, VIEWS = 64, 64, 0.1, 4
FINE_TUNING_STEPS = 100
PREPROCESSOR = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=False)
TEACHER = dict(
    type='ImageClassifier', backbone=dict(type='MobileNetV2'), neck=dict(type='GlobalAveragePooling'),
    data_preprocessor=PREPROCESSOR,
)  # fmt: skip
VIT = dict(embed_dims=96, num_layers=8, num_heads=3, feedforward_channels=384)
STUDENTS = dict(
    resnet=dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18, stem_channels=16, base_channels=16),
        neck=dict(type='GlobalAveragePooling'),
        data_preprocessor=PREPROCESSOR,
    ),
    vit=dict(
        type='ImageClassifier',
        backbone=dict(type='VisionTransformer', arch=VIT, img_size=SIZE, patch_size=16, out_type='avg_featmap'),
        data_preprocessor=PREPROCESSOR,
    ),
)
WIDTHS = dict(resnet=128, vit=96)


def shipped(name: str, **options: Any) -> dict:
    """Return a distiller of ``configs/_base_/distillers``."""
    return dict(read_config(f'tas_mm::_base_/distillers/{name}.py').distiller.to_dict(), **options)


def queue(name: str) -> dict:
    """Return one with a queue of half of the images, as its authors advise."""
    distiller = shipped(name)
    distiller['terms']['queue']['queue_size'] = 2048
    return distiller


METHODS = dict(
    random=lambda: None,
    tas=lambda: dict(type='tas_mm.TASDistiller'),
    teacher_first=lambda: shipped('tas_teacher_first'),
    lean=lambda: shipped('tas_lean'),
    rsd=lambda: shipped('rsd'),
    queue=lambda: queue('queue'),
    lightly=lambda: queue('lightly'),
    dense=lambda: shipped('dense'),
    unic=lambda: shipped('unic'),
    phis=lambda: shipped('phis'),
)


def read_images(files: list[Path]) -> Tensor:
    """Read images as ``(N, 3, H, W)`` of bytes."""
    return torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).permute(0, 3, 1, 2)


def read_labeled(part: str) -> tuple[Tensor, Tensor]:
    """Read the crops with labels."""
    files = sorted((DATA / 'crops' / part).glob('*/*.png'))
    return read_images(files), torch.tensor([int(file.parent.name == 'crown') for file in files])


def normalized(images: Tensor) -> Tensor:
    """Return images in the middle of crops, normalized as ImageNet."""
    room = (images.size(-1) - SIZE) // 2
    mean, std = (torch.tensor(PREPROCESSOR[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    return (images[..., room : room + SIZE, room : room + SIZE].float() - mean) / std


def views_of(images: Tensor, seed: int = 0) -> Tensor:
    """Cut ``VIEWS`` views of every crop at random places, turned and mirrored at random, ``(VIEWS * N, 3, S, S)``."""
    random, found = torch.Generator().manual_seed(seed), []
    for image in images.repeat(VIEWS, 1, 1, 1):
        y, x, flip, mirror, turn = torch.randint(0, 2**31, (5,), generator=random).tolist()
        room = image.size(-1) - SIZE + 1
        image = image[:, y % room :, x % room :][:, :SIZE, :SIZE]
        image = image.flip(-1) if flip % 2 else image
        image = image.flip(-2) if mirror % 2 else image
        found.append(image.transpose(-1, -2) if turn % 2 else image)
    return torch.stack(found)


class Recalled(nn.Module):
    """Teacher's outputs for every view, computed once. All methods here need stages 3 and 4 only."""

    def __init__(self, teacher: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.view = view_of(teacher, (SIZE, SIZE), 'model.teacher')
        observer = Observer(self.view, stages=[3, 4])
        with torch.no_grad():
            seen = [observer(self.view.run, normalized(part))[0] for part in images.split(256)]
        observer.remove()
        self.feature = torch.cat([each.feature for each in seen])
        self.stages = {stage: torch.cat([each.stages[stage] for each in seen]) for stage in (3, 4)}
        self.rows = torch.empty(0, dtype=torch.long)

    def observe(self, images: Tensor, observer: Observer, regions: None = None) -> Observation:
        """Return what was seen of the rows that are set."""
        stages = {stage: maps[self.rows] for stage, maps in self.stages.items()}
        return Observation(observer.view, self.feature[self.rows], None, stages)


def train(model: nn.Module, images: Tensor, steps: int, batch: int, seed: int, lr: float, loss_of: Any) -> float:
    """Train by AdamW with a warm-up of a tenth and a cosine; return seconds per step."""
    random = torch.Generator().manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    order, start = torch.empty(0, dtype=torch.long), time.perf_counter()
    for _ in range(steps):
        while len(order) < batch:
            order = torch.cat([order, torch.randperm(len(images), generator=random)])
        chosen, order = order[:batch], order[batch:]
        loss = loss_of(normalized(images[chosen]), chosen)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
    return (time.perf_counter() - start) / steps


def features_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return the features of a network without a head, ``(N, C)``."""
    view = view_of(network.eval(), (SIZE, SIZE))
    observer = Observer(view)
    with torch.no_grad():
        found = [observer(view.run, normalized(part))[0].feature for part in images.split(256)]
    observer.remove()
    return torch.cat(found)


def fine_tuned(student: nn.Module, width: int, labeled: dict, share: float, seed: int) -> float:
    """Train student and a linear head on a share of the labels; return the accuracy in percent."""
    (images, labels), (held_out, expected) = labeled['train'], labeled['test']
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: round(share * len(images))]
    images, labels = images[chosen], labels[chosen]
    torch.manual_seed(seed)
    network = nn.ModuleDict(dict(student=student, head=nn.Linear(width, 2)))
    view = view_of(student, (SIZE, SIZE))
    observer = Observer(view)

    def logits(x: Tensor) -> Tensor:
        return network['head'](observer(view.run, x)[0].feature)

    network.train()
    train(
        network, images, FINE_TUNING_STEPS, BATCH, seed, 1e-3, lambda x, rows: F.cross_entropy(logits(x), labels[rows])
    )
    network.eval()
    with torch.no_grad():
        right = [
            (logits(normalized(x)).argmax(1) == y).float() for x, y in zip(held_out.split(256), expected.split(256))
        ]
    observer.remove()
    return 100 * float(torch.cat(right).mean())


def measure(network: nn.Module, labeled: dict) -> dict[str, float]:
    """Measure k-NN and a linear probe on frozen features."""
    parts = [(features_of(network, images), labels) for images, labels in labeled.values()]
    return dict(knn=knn_accuracy(*parts), linear=linear_accuracy(*parts))


def run(
    student: str, method: str, seed: int, steps: int, pool: Tensor, recalled: Recalled, labeled: dict
) -> dict[str, Any]:
    """Distill, measure and fine-tune; return a line of results."""
    torch.manual_seed(seed)
    distiller, seconds = METHODS[method](), 0.0
    if distiller is not None:
        distiller['input_size'] = SIZE
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(STUDENTS[student])
    network.init_weights()
    if distiller is not None:
        model = TAS(
            architecture=network, teacher=TEACHER, teacher_ckpt=str(DATA / 'mobilenet_v2.pth'), distiller=distiller
        )
        model.distiller.init_weights()
        model.train()
        model.teacher.observe = recalled.observe

        def loss_of(images: Tensor, rows: Tensor) -> Tensor:
            recalled.rows = rows
            return model.parse_losses(model(images, None, mode='loss'))[0]

        seconds = train(model, pool, steps, BATCH, seed, 1e-3, loss_of)
        network = model.student
    result = dict(student=student, method=method, seed=seed, steps=steps, seconds=round(seconds, 3))
    result |= measure(network, labeled)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for name, share in (('few', FEW), ('all', 1.0)):
        network.load_state_dict(state)
        result[name] = fine_tuned(network, WIDTHS[student], labeled, share, seed)
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in result.items()}


def print_table(lines: list[dict]) -> None:
    """Print mean and standard deviation over seeds."""
    cells = defaultdict(list)
    for line in lines:
        cells[line['student'], line['method'], line['steps']].append(line)
    columns = ('knn', 'linear', 'few', 'all', 'seconds')
    rows = []
    for (student, method, steps), found in cells.items():
        values = [np.array([line[column] for line in found]) for column in columns]
        spread = [f'{v.mean():.2f} ± {v.std(ddof=1):.2f}' if len(v) > 1 else f'{v.mean():.2f}' for v in values]
        rows.append((student, method, str(steps), str(len(found)), *spread))
    print(markdown(('student', 'method', 'steps', 'seeds', *columns), rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--students', nargs='+', default=list(STUDENTS), choices=STUDENTS)
    parser.add_argument('--methods', nargs='+', default=list(METHODS), choices=METHODS)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=300)
    parser.add_argument('--out', type=Path, default=OUT)
    parser.add_argument('--table', action='store_true', help='print the table and stop')
    args = parser.parse_args()
    lines = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    if args.table:
        print_table(lines)
        return
    MMLogger.get_current_instance().setLevel('ERROR')
    pool = views_of(read_images(sorted((DATA / 'unlabeled').glob('*.jpg'))))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        teacher = build_teacher(TEACHER, str(DATA / 'mobilenet_v2.pth'))
    recalled = Recalled(teacher.eval(), pool)
    labeled = {part: read_labeled(part) for part in ('train', 'test')}
    cells = [(s, m, seed) for seed in range(args.seeds) for s in args.students for m in args.methods]
    done = {(line['student'], line['method'], line['seed']) for line in lines if line['steps'] == args.steps}
    for i, cell in enumerate(cells, 1):
        if cell in done:
            continue
        began = time.perf_counter()
        result = run(*cell, args.steps, pool, recalled, labeled)
        with args.out.open('a') as file:
            file.write(json.dumps(result) + '\n')
        print(f'[{i}/{len(cells)}] {result} ({time.perf_counter() - began:.0f} s)', flush=True)
    print_table([json.loads(line) for line in args.out.read_text().splitlines()])


if __name__ == '__main__':
    main()
