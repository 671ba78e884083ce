"""What the frozen teacher said of each image, kept on disk: the next student need not run it again.

Fast distillation (FKD, arXiv 2112.01528; TinyViT, arXiv 2207.10666) keeps the teacher's top-k probabilities with the
seed of the augmentation. Here an image is known by its pixels, as the teacher is about to see them: so whatever seed,
crop or mixture they came from, what is read is what the teacher said of just these. With the same seed, data and
pipeline a second run meets the same images (``SeedHook``), and all of them are known; any other image is run through
the teacher and kept. Kept are pooled feature and logits, in float16. So it is for distillers that read nothing else of
the teacher, which TAS does where the assistant starts from the student.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from torch import Tensor

from tas_mm.registry import refuse_unknown

if TYPE_CHECKING:
    from ..distillers import Distiller
    from .teacher import FrozenTeacher

KEPT = ('feature', 'logits')
FORMAT = 1
"""Of the files; folders of another are refused."""
PATIENCE = 10
"""Batches after which it is said that a cache does not help."""


def image_keys(images: Tensor) -> np.ndarray:
    """A 64-bit key of each image's exact pixels; the same on every device, since sums of integers have no order.

    Args:
        images (Tensor): ``(B, C, H, W)``, of any type.

    Returns:
        ndarray: ``(B, )``, unsigned.
    """
    bits = images.float().contiguous().view(torch.int32).flatten(1).long()
    draw = torch.Generator().manual_seed(bits.size(1))
    factors = torch.randint(-(2**62), 2**62, (bits.size(1),), generator=draw).to(bits.device)
    return (bits * factors).sum(dim=1).cpu().numpy().view(np.uint64)


class TeacherCache:
    """Features and logits of images, found again by :func:`image_keys`.

    Each process of each run appends to two files of its own and reads those of all: runs may share a folder.

    Args:
        path (str): Folder; made if it is not there.
        teacher (dict): What must be the same for the cache to fit: fingerprint of the weights, normalization, type.
        feature_dim (int): Width of the feature.
        num_classes (int): Number of logits; 0 of a headless teacher.
        topk (int, optional): How many of the largest logits to keep; the others share what is left of the probability.
            Defaults to None: all, which is exact but for the rounding.

    Raises:
        ValueError: If the folder holds the cache of another teacher, or ``topk`` is out of range.
    """

    def __init__(self, path: str, teacher: dict, feature_dim: int, num_classes: int, topk: int | None = None) -> None:
        self.num_classes = num_classes
        self.topk = (topk or num_classes) if num_classes else 0
        if num_classes and not 1 <= self.topk <= num_classes:
            raise ValueError(f'model.teacher_cache.topk={topk!r}, but valid are 1 to {num_classes}')
        self.dtype = np.dtype(
            [
                ('feature', '<f2', feature_dim),
                ('logits', '<f2', self.topk),
                ('rest', '<f2'),
                ('classes', '<u2', self.topk),
            ]
        )
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        wanted = dict(teacher, feature_dim=feature_dim, classes=num_classes, topk=self.topk, format=FORMAT)
        self._check(folder / 'cache.json', wanted)
        self.folder = folder
        self.hits = self.misses = 0
        own = f'rank{get_rank()}_{uuid4().hex}'
        self._read()
        self._was_full = len(self._keys) > 0
        self._files = [open(folder / f'{own}.{kind}', 'ab') for kind in ('data', 'keys')]  # noqa: SIM115

    def __deepcopy__(self, memo: dict) -> TeacherCache:
        """Shared by copies of the model, as EMA makes one."""
        return self

    def _check(self, file: Path, wanted: dict) -> None:
        if not file.exists():
            part = file.with_name(f'{uuid4().hex}.part')  # whole at once: other processes look for it too
            part.write_text(json.dumps(wanted, indent=1))
            part.replace(file)
        found = json.loads(file.read_text())
        for key, value in wanted.items():
            if found.get(key) != value:
                raise ValueError(
                    f'model.teacher_cache.path={str(file.parent)!r} was made with {key}={found.get(key)}, but this run '
                    f'has {key}={value}: name another folder'
                )

    def _count(self, data: Path, keys: Path) -> int:
        """How many images two files hold, without what a killed run has written by half."""
        return min(data.stat().st_size // self.dtype.itemsize, keys.stat().st_size // 8)

    def _read(self) -> None:
        """Look at what is on disk: read the keys, sorted, and map the rest."""
        keys, rows, self._data = [], [], []
        for file in sorted(self.folder.glob('*.keys')):
            data = file.with_suffix('.data')
            if count := self._count(data, file):
                keys.append(np.fromfile(file, np.uint64, count))
                rows.append(np.stack([np.full(count, len(self._data)), np.arange(count)], axis=1))
                self._data.append(np.memmap(data, self.dtype, 'r', shape=(count,)))
        self._new = 0
        self._keys, self._rows = np.empty(0, np.uint64), np.empty((0, 2), int)
        if keys:
            order = np.concatenate(keys).argsort()
            self._keys, self._rows = np.concatenate(keys)[order], np.concatenate(rows)[order]

    def find(self, images: Tensor) -> dict[str, Tensor] | None:
        """Feature ``(B, C)`` and logits ``(B, num_classes)`` of images, if all of them are known."""
        keys = image_keys(images)
        at = self._keys.searchsorted(keys)
        known = at < len(self._keys)
        known[known] = self._keys[at[known]] == keys[known]
        if not known.all():
            self.misses += 1
            if self._was_full and not self.hits and self.misses == PATIENCE:
                print_log(
                    f'model.teacher_cache.path={str(self.folder)!r} knows none of the first {PATIENCE} batches, so the '
                    'teacher runs and the cache grows. It knows images again if seed (randomness), data, pipeline and '
                    'batch augmentations are those of the run that filled it, and both runs have tas_mm.SeedHook',
                    logger='current',
                    level=logging.WARNING,
                )
            return None
        self.hits += 1
        records = np.stack([self._data[file][row] for file, row in self._rows[at]])
        feature, kept, rest = (torch.from_numpy(records[n].astype(np.float32)) for n in ('feature', 'logits', 'rest'))
        if not self.num_classes:
            return dict(feature=feature.to(images.device), logits=None)
        logits = rest[:, None].repeat(1, self.num_classes)
        logits.scatter_(1, torch.from_numpy(records['classes'].astype(np.int64)), kept)
        return dict(feature=feature.to(images.device), logits=logits.to(images.device))

    def keep(self, images: Tensor, feature: Tensor, logits: Tensor | None) -> None:
        """Keep what the teacher says of images."""
        logits = feature.new_empty(len(images), 0) if logits is None else logits.float()
        kept, classes = logits.topk(self.topk, dim=1)
        whole = logits.logsumexp(dim=1)
        left = (1 - (kept - whole[:, None]).exp().sum(dim=1)).clamp_min(1e-7) / max(1, self.num_classes - self.topk)
        records = np.empty(len(images), self.dtype)
        for name, value in (('feature', feature), ('logits', kept), ('rest', left.log() + whole), ('classes', classes)):
            records[name] = value.float().cpu().numpy()
        for file, content in zip(self._files, (records, image_keys(images))):
            file.write(content.tobytes())
            file.flush()
        self._new += len(images)
        if self._new > len(self._keys):  # seldom enough to cost nothing
            self._read()


def open_cache(cfg: dict | str, teacher: FrozenTeacher, distiller: Distiller) -> TeacherCache:
    """Open the cache that ``model.teacher_cache`` asks for.

    Args:
        cfg (dict | str): Arguments ``path`` and ``topk`` of :class:`TeacherCache`, or the path alone.
        teacher (FrozenTeacher): The teacher.
        distiller (Distiller): The algorithm's, bound.

    Raises:
        ValueError: If the distiller reads more of the teacher than is kept.
    """
    cfg = dict(path=cfg) if isinstance(cfg, str) else dict(cfg)
    refuse_unknown('model.teacher_cache', cfg, TeacherCache)
    view, more = distiller.teacher_view, distiller.teacher_reads - {*KEPT}
    if more or view is None:
        raise ValueError(
            f'model.teacher_cache keeps feature and logits of one teacher, but model.distiller reads '
            f'{", ".join(sorted(more)) or "of several"}: valid are distillers that read nothing else of it, such as '
            'tas_mm.TASDistiller where the assistant starts from the student'
        )
    distiller.teacher_observer.keep_feature()  # for the next run, whose losses may want it
    description = teacher.description()
    return TeacherCache(teacher=description, feature_dim=view.feature_dim, num_classes=view.num_classes or 0, **cfg)
