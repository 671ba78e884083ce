"""Cache of the frozen teacher's outputs on disk, so that the next student's run need not compute them.

Fast distillation (FKD, arXiv 2112.01528; TinyViT, arXiv 2207.10666) stores the teacher's top-k probabilities with the
seed of the augmentation. Here the key is the image's pixels, as the teacher is about to see them. So an entry is right
whatever seed, crop or mixture the image came from. With the same seed, data and pipeline a second run has the same
images (``SeedHook``) and finds all of them. Other images are run through the teacher and stored. Entries are the pooled
feature and logits, in float16. So the cache works for distillers that read nothing else of the teacher, which TAS does
if the assistant starts from the student.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
"""Version of the file format. Folders of another version raise."""
PATIENCE = 10
"""Number of batches without a hit before a warning says that the cache does not help."""


def image_keys(images: Tensor) -> np.ndarray:
    """Return a 64-bit key of each image's exact pixels, equal on every device.

    Args:
        images (Tensor): Images ``(B, C, H, W)`` of any type.

    Returns:
        ndarray: Keys ``(B, )``, unsigned.
    """
    bits = images.float().contiguous().view(torch.int32).flatten(1).long()
    draw = torch.Generator().manual_seed(bits.size(1))
    factors = torch.randint(-(2**62), 2**62, (bits.size(1),), generator=draw).to(bits.device)
    return (bits * factors).sum(dim=1).cpu().numpy().view(np.uint64)


class TeacherCache:
    """Features and logits of images, stored by :func:`image_keys`.

    Each process of each run appends to its own two files and reads the files of all, so runs may share a folder.

    Args:
        path (str): Folder, created if needed.
        teacher (dict): Data that must match the cache: fingerprint of the weights, normalization, type.
        feature_dim (int): Width of the feature.
        num_classes (int): Number of logits. 0 for a headless teacher.
        topk (int, optional): Number of largest logits to store. The others share the remaining probability. Defaults
            to None: all, which is exact up to rounding.

    Raises:
        ValueError: If the folder holds the cache of another teacher, or ``topk`` is out of range.
    """

    def __init__(self, path: str, teacher: dict, feature_dim: int, num_classes: int, topk: int | None = None) -> None:
        self.num_classes = num_classes
        self.topk = (topk or num_classes) if num_classes else 0
        if num_classes and not 1 <= self.topk <= num_classes:
            raise ValueError(f'model.teacher_cache.topk={topk!r}. Expected 1 to {num_classes}')
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
        """Share the cache with copies of the model, such as EMA's."""
        return self

    def _check(self, file: Path, wanted: dict) -> None:
        if not file.exists():
            part = file.with_name(f'{uuid4().hex}.part')  # written atomically: other processes look for it too
            part.write_text(json.dumps(wanted, indent=1))
            part.replace(file)
        found = json.loads(file.read_text())
        for key, value in wanted.items():
            if found.get(key) != value:
                raise ValueError(
                    f'model.teacher_cache.path={str(file.parent)!r} was made with {key}={found.get(key)}, but this run '
                    f'has {key}={value}. Name another folder'
                )

    def _count(self, data: Path, keys: Path) -> int:
        """Return the number of images in two files, without an incomplete last entry of a killed run."""
        return min(data.stat().st_size // self.dtype.itemsize, keys.stat().st_size // 8)

    def _read(self) -> None:
        """Read the keys on disk, sorted, and map the rest into memory."""
        keys, rows, self._data = [], [], []
        for file in sorted(self.folder.glob('*.keys')):
            data = file.with_suffix('.data')
            if count := self._count(data, file):
                keys.append(np.fromfile(file, np.uint64, count))
                rows.append(np.stack([np.full(count, len(self._data)), np.arange(count)], axis=1))
                self._data.append(np.memmap(data, self.dtype, 'r', shape=(count,)))
        self._new = 0
        self._keys: np.ndarray = np.empty(0, np.uint64)
        self._rows: np.ndarray = np.empty((0, 2), int)
        if keys:
            order = np.concatenate(keys).argsort()
            self._keys, self._rows = np.concatenate(keys)[order], np.concatenate(rows)[order]

    def find(self, images: Tensor) -> dict[str, Tensor] | None:
        """Return feature ``(B, C)`` and logits ``(B, num_classes)`` if all images are cached, else None."""
        keys = image_keys(images)
        at: Any = np.searchsorted(self._keys, keys)
        known: np.ndarray = at < len(self._keys)
        known[known] = self._keys[at[known]] == keys[known]
        if not known.all():
            self.misses += 1
            if self._was_full and not self.hits and self.misses == PATIENCE:
                print_log(
                    f'model.teacher_cache.path={str(self.folder)!r} has none of the first {PATIENCE} batches, so the '
                    'teacher runs and the cache grows. For hits, use the same seed (randomness), data, pipeline and '
                    'batch augmentations as the run that filled it, and tas_mm.SeedHook in both runs',
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
        """Store the teacher's outputs for images."""
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
        if self._new > len(self._keys):  # rarely, so that it costs nothing
            self._read()


def open_cache(cfg: dict | str, teacher: FrozenTeacher, distiller: Distiller) -> TeacherCache:
    """Open the cache of the option ``model.teacher_cache``.

    Args:
        cfg (dict | str): Arguments ``path`` and ``topk`` of :class:`TeacherCache`, or only the path.
        teacher (FrozenTeacher): The teacher.
        distiller (Distiller): The algorithm's bound distiller.

    Raises:
        ValueError: If the distiller reads more of the teacher than the cache stores.
    """
    cfg = dict(path=cfg) if isinstance(cfg, str) else dict(cfg)
    refuse_unknown('model.teacher_cache', cfg, TeacherCache)
    view, more = distiller.teacher_view, distiller.teacher_reads - {*KEPT}
    if more or view is None:
        raise ValueError(
            f'model.teacher_cache stores feature and logits of one teacher, but model.distiller reads '
            f'{", ".join(sorted(more)) or "of several"}. Use a distiller that reads nothing else, such as '
            'tas_mm.TASDistiller with an assistant that starts from the student'
        )
    distiller.teacher_observer.keep_feature()  # the next run's losses may read it
    description = teacher.description()
    return TeacherCache(teacher=description, feature_dim=view.feature_dim, num_classes=view.num_classes or 0, **cfg)
