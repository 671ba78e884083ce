"""Agreement of student and assistant with the teacher, on images without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from tas_mm.models.cka import CKA
from tas_mm.models.distillers import interface_of

from .probe import Probe

FEWEST = 4
"""Number of images that CKA needs."""


def agreement(
    learner: Tensor, target: Tensor, projected: Tensor | None = None, neighbors: int = 10
) -> dict[str, float]:
    """Compare the features of two networks on the same images.

    Args:
        learner (Tensor): Features of the learner, ``(N, C_L)``.
        target (Tensor): Features of its teacher, ``(N, C_T)``.
        projected (Tensor, optional): The learner's features in the teacher's space, ``(N, C_T)``. Defaults to None.
        neighbors (int): Number of nearest images to compare. Defaults to 10.

    Returns:
        dict: ``cka``: linear CKA, 1 for features that are equal up to rotation and scale, near 0 for unrelated ones.
        ``neighbors``: the percentage of an image's nearest images, by cosine, that both networks share. With
        ``projected`` also ``cosine``: the mean cosine to the teacher's features, both centered; and ``retrieval``: the
        percentage of images whose projected feature is closest to the teacher's feature of the same image.

    Raises:
        ValueError: If there are fewer than 4 images.

    Examples:
        >>> import torch
        >>> from tas_mm.engine.probes import agreement
        >>> x = torch.randn(32, 8)
        >>> {name: round(value, 3) for name, value in agreement(2 * x, x, x).items()}
        {'cka': 1.0, 'neighbors': 100.0, 'cosine': 1.0, 'retrieval': 100.0}
    """
    measured = CKA()
    measured.add([learner, target])
    near = min(neighbors, len(target) - 1)
    a, b = (_nearest(feature, near) for feature in (learner, target))
    shared = (a[:, :, None] == b[:, None, :]).sum(dim=(1, 2)).double().mean() / near
    metrics = dict(cka=float(measured.value()[0, 1]), neighbors=100 * float(shared))
    if projected is not None:
        centered = (feature - feature.mean(dim=0) for feature in (projected, target))
        metrics['cosine'] = float(F.cosine_similarity(*centered, dim=1).mean())
        found = (F.normalize(projected, dim=1) @ F.normalize(target, dim=1).T).argmax(dim=1)
        metrics['retrieval'] = 100 * float((found == torch.arange(len(found), device=found.device)).double().mean())
    return metrics


def _nearest(feature: Tensor, number: int) -> Tensor:
    feature = F.normalize(feature.float(), dim=1)
    return (feature @ feature.T).fill_diagonal_(-2.0).topk(number, dim=1).indices


def learner_sides(distiller: Any) -> dict[str, nn.Module | None]:
    """Return, by role, the projection of its feature into the teacher's space, from a loss that compares the two.

    It is the ``projection`` of a loss between both features, or None if their widths are equal. A role without such a
    loss is not in the result.

    Args:
        distiller (Distiller): A distiller for one teacher.
    """
    sides = {}
    for name, mapping in (getattr(distiller, 'config', None) or {}).get('loss_forward_mappings', {}).items():
        loss, records = distiller.distill_losses[name], [*mapping.values()][:2]
        if len(records) < 2 or not hasattr(loss, 'projection') or getattr(loss, 'balance', None) is not None:
            continue  # a balanced target is not in the teacher's space
        learner, target = records
        if target.get('recorder') != 'feature' or target.get('from_student') or 'connector' in target:
            continue
        of_assistant = (
            learner.get('connector') == getattr(distiller, 'assistant_name', None) and learner.get('connector_idx') == 0
        )
        if 'connector' in learner and of_assistant:
            sides.setdefault('assistant', loss.projection)
        elif 'connector' not in learner and learner.get('recorder') == 'feature' and learner.get('from_student'):
            sides.setdefault('student', loss.projection)
    return sides


class AgreementProbe(Probe):
    """Agreement with the teacher on validation images, spread evenly; see :func:`agreement`.

    Args:
        dataset (Dataset): Validation images.
        model (nn.Module): The distillation.
        num_images (int): Maximum number of images. Defaults to 1000.
        interval (int): As in :class:`Probe`. Defaults to 1.

    Raises:
        ValueError: If an option is out of range, or there are fewer than 4 images.
    """

    compares = True

    def __init__(self, dataset: Dataset, model: nn.Module, num_images: int = 1000, interval: int = 1) -> None:
        super().__init__('val_cfg.agreement', interval)
        if not (isinstance(num_images, int) and num_images >= FEWEST):
            raise ValueError(f'{self.key}.num_images={num_images!r}. Expected a whole number of at least {FEWEST}')
        if len(dataset) < FEWEST:
            raise ValueError(f'{self.key}: val_dataloader has {len(dataset)} images. Expected at least {FEWEST}')
        spread = np.linspace(0, len(dataset), min(num_images, len(dataset)), endpoint=False).astype(int)
        self.images = Subset(dataset, spread.tolist())
        distiller = interface_of(model)
        self.distillers = [*getattr(distiller, 'distillers', [distiller])]
        self.targets: dict[str, Tensor] = {}

    def collect(self, read: Callable[..., Any], roles: Sequence[str]) -> dict[str, Tensor]:
        """Return features by role. Those of the teachers do not change, so they are computed once."""
        missing = [role for role in roles if role not in self.targets]
        features, _ = read(self.images, missing)
        self.targets.update({role: feature for role, feature in features.items() if role.startswith('teacher')})
        return features | self.targets

    def metrics(self, collected: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        """Return metrics of student and assistant. With several teachers, names include the teacher's number."""
        learners = [role for role in ('student', 'assistant') if role in collected]
        metrics: dict[str, dict[str, float]] = {role: {} for role in learners}
        for (teacher, target), distiller in zip(self.targets.items(), self.distillers):
            prefix = 'agreement/' if len(self.distillers) == 1 else f'agreement/{teacher}.'
            sides = learner_sides(distiller)
            for role in learners:
                projected = _projected(collected[role], sides[role]) if role in sides else None
                found = agreement(collected[role], target, projected)
                metrics[role].update({prefix + name: value for name, value in found.items()})
        return metrics


@torch.no_grad()
def _projected(feature: Tensor, projection: nn.Module | None) -> Tensor:
    if projection is None:
        return feature
    return projection(feature.to(next(projection.parameters()))).float().cpu()
