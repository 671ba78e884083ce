"""Base of the probes: features of all networks for the images of a data set, from all processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine import dist
from mmengine.dataset import pseudo_collate
from mmengine.runner import autocast
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from tas_mm.models.algorithms import TAS
from tas_mm.models.distillers import interface_of
from tas_mm.models.knowledge import Observation, labels_of
from tas_mm.models.observer import Observer
from tas_mm.models.stages import StageView, view_of
from tas_mm.models.teachers.teacher import FrozenTeacher


def probe_roles(model: nn.Module) -> list[str]:
    """List the networks whose features can be read: ``student``, ``assistant``, ``teacher``.

    Several teachers are ``teacher0``, ``teacher1``, and so on.

    Args:
        model (nn.Module): A distillation, or a single network.
    """
    if not isinstance(model, TAS):
        return ['student']
    assistant = ['assistant'] if interface_of(model).assistant is not None else []
    count = len(model.teacher.networks)
    return ['student', *assistant, *(['teacher'] if count == 1 else [f'teacher{i}' for i in range(count)])]


class FeatureReader:
    """Reads the pooled features of a model's networks.

    Its hooks stay on the networks. Create it before the networks run, because ``torch.compile`` ignores later hooks.

    Args:
        model (nn.Module): A distillation, or a single network.

    Raises:
        ValueError: If a network does not give one feature per image, as a detector.

    Examples:
        >>> import torch
        >>> from tas_mm.engine.probes import FeatureReader
        >>> from tas_mm.recipes.sources import build_classifier
        >>> reader = FeatureReader(build_classifier('timm:resnet18').eval())
        >>> {role: tuple(feature.shape) for role, feature in reader(torch.zeros(2, 3, 64, 64)).items()}
        {'student': (2, 512)}
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, distiller = model, interface_of(model)
        distills = isinstance(model, TAS)
        self.student_view = distiller.student_view or view_of(
            model.architecture if distills else model, key='model.architecture' if distills else 'model'
        )
        self.teachers: tuple[FrozenTeacher, ...] = model.teacher.each if distills else ()
        known = distiller.teacher_views if distills else ()
        views = [view or view_of(each.network, key='model.teacher') for view, each in zip(known, self.teachers)]
        views.insert(0, self.student_view)
        for view in views:
            if view.any_size or view.feature_source is None:
                raise ValueError(
                    f'val_cfg: agreement and probe compare one feature per image, which {view.key}, a '
                    f'{type(view.model).__name__}, does not give. Remove them'
                )
        self.observers = dict(zip([role for role in probe_roles(model) if role != 'assistant'], map(_watch, views)))

    @torch.no_grad()
    def __call__(self, images: Tensor, roles: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the features ``(B, C)`` of some networks in float32.

        Args:
            images (Tensor): Images ``(B, C, H, W)`` from the student's preprocessor.
            roles (sequence, optional): Some of :func:`probe_roles`. Defaults to all.
        """
        roles = probe_roles(self.model) if roles is None else roles
        distiller, early = interface_of(self.model), None
        seen: dict[str, Any] = {}
        starts = 'assistant' in roles and distiller.assistant.early_role
        for role in (role for role in self.observers if role != 'student'):
            teacher = self.teachers[int(role.removeprefix('teacher') or 0)]
            if role in roles:
                seen[role] = _without_cache(teacher, images, self.observers[role])
            if starts == 'teacher':
                early = _without_cache(teacher, images, distiller.teacher_observer)
        if 'student' in roles or starts:
            run = [self.student_view.run, images]
            if starts:
                run = [distiller.student_observer, *run]
            seen['student'], output = self.observers['student'](*run)
            if starts:
                seen['assistant'] = distiller.run_assistant(output[0], early)
        return {role: seen[role].feature.float() for role in roles}


def _watch(view: StageView) -> Observer:
    return Observer(view, knowledge=('feature',))


def _without_cache(teacher: FrozenTeacher, images: Tensor, observer: Observer) -> Observation:
    """Run a teacher without its cache, which has no stages and would store images that are not trained on."""
    cache, teacher.cache = teacher.cache, None
    try:
        return teacher.observe(images, observer)
    finally:
        teacher.cache = cache


class Probe(ABC):
    """Base of a measure of features. All processes collect them, and the main process computes.

    Args:
        key (str): Key of the probe in the config, for error messages.
        interval (int): Measure at the first validation and at every n-th.
    """

    compares = False
    """True if the measure compares with the teachers' features."""

    def __init__(self, key: str, interval: int) -> None:
        if not (isinstance(interval, int) and interval > 0):
            raise ValueError(f'{key}.interval={interval!r}. Expected a whole number of at least 1')
        self.key, self.interval = key, interval

    def due(self, validations: int) -> bool:
        """Return True if the probe is due after that many validations."""
        return validations == 0 or (validations + 1) % self.interval == 0

    @abstractmethod
    def collect(self, read: Callable[..., Any], roles: Sequence[str]) -> Any:
        """Return what :meth:`metrics` needs.

        Args:
            read (callable): From a data set and roles to features by role and labels; see :func:`features_of`.
            roles (sequence): The networks to measure.
        """

    @abstractmethod
    def metrics(self, collected: Any) -> dict[str, dict[str, float]]:
        """Return metrics by role."""

    def datasets(self) -> dict[str, Dataset]:
        """Return the data sets that only this probe reads, by their key in the config."""
        return {}


def features_of(
    reader: FeatureReader,
    dataset: Dataset,
    roles: Sequence[str],
    batch_size: int,
    num_workers: int = 0,
    collate_fn: Callable = pseudo_collate,
    fp16: bool = False,
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return features ``(N, C)`` by role and labels ``(N, )`` of a data set, in its order, equal in all processes.

    Args:
        reader (FeatureReader): Reads the features.
        dataset (Dataset): The images.
        roles (sequence): Networks to read.
        batch_size (int): Number of images per batch.
        num_workers (int): Number of processes that load data. Defaults to 0.
        collate_fn (callable): Makes batches. Defaults to MMEngine's.
        fp16 (bool): Whether to run in half precision. Defaults to False.
    """
    rank, processes = dist.get_dist_info()
    own = Subset(dataset, range(rank, len(dataset), processes))
    loader = DataLoader(own, batch_size, num_workers=num_workers, collate_fn=collate_fn)
    features: dict[str, list[Tensor]] = {role: [] for role in roles}
    labels: list[Tensor | None] = []
    for batch in loader:
        data = reader.model.data_preprocessor(batch, False)
        with autocast(enabled=fp16):
            for role, feature in reader(data['inputs'], roles).items():
                features[role].append(feature.cpu())
        labels.append(labels_of(data.get('data_samples')))
    known = labels and all(each is not None for each in labels)
    part = (
        {role: torch.cat(each) for role, each in features.items() if each},
        torch.cat(labels).cpu() if known else None,
    )
    if processes == 1:
        return part
    parts = [each for each in dist.all_gather_object(part) if each[0]]
    joined = {role: _dealt([each[0][role] for each in parts]) for role in roles}
    return joined, None if any(each[1] is None for each in parts) else _dealt([each[1] for each in parts])


def _dealt(parts: list[Tensor]) -> Tensor:
    """Join the processes' parts of a data set, whose images were distributed in turns."""
    joined = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    for rank, part in enumerate(parts):
        joined[rank :: len(parts)] = part
    return joined
