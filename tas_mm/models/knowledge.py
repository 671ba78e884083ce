"""Knowledge and observations: what the passes of a network return to the losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

if TYPE_CHECKING:
    from .stages import StageView


UNLABELED = -1
"""Label of an unlabeled image in a batch that has labels."""


class Knowledge(NamedTuple):
    """Knowledge of one network: ``K = {f, p}`` (TAS, arXiv 2410.12342).

    Attributes:
        feature (Tensor): Pooled feature that the head's classifier reads, ``(B, C)``. For a detector, one row for each
            region.
        logits (Tensor | None): Logits ``(B, num_classes)``. None if the network has no head, as a detector's backbone.
    """

    feature: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class Observation:
    """Data that one pass of a network returns to the losses.

    Attributes:
        view (StageView | None): View of the network. None for MMRazor's distillers, which have no views.
        feature (Tensor | None): As in :class:`Knowledge`.
        logits (Tensor | None): As in :class:`Knowledge`.
        stages (dict): Native outputs of the requested stages, by number (1 to 4).
        records (dict): Buffers of MMRazor recorders, by name. Empty unless the config has recorders.
        regions (Tensor | None): Regions of a detector's batch, ``(N, 5)``: image, then left, top, right, bottom in
            pixels.
        pyramid (tuple): Maps ``(B, C, H, W)`` that a detector's neck returned, from the finest, if a loss reads one.
        dense_logits (Tensor | None): Class scores of a one-stage detector before the sigmoid, ``(N, K)``: one row for
            each image, level, location and prior.
    """

    view: StageView | None = None
    feature: Tensor | None = None
    logits: Tensor | None = None
    stages: Mapping[int, Any] = field(default_factory=dict)
    records: Mapping[str, list] = field(default_factory=dict)
    regions: Tensor | None = None
    pyramid: tuple[Tensor, ...] = ()
    dense_logits: Tensor | None = None

    def read(self, reading: str) -> Any:
        """Return one of ``READINGS``: logits, the feature, or a stage or a level as a map."""
        kind, number = reading[:-1], reading[-1:]
        if kind == 'stage':
            return self.map(int(number))
        return self.pyramid[int(number) - 1] if kind == 'level' else getattr(self, reading)

    def map(self, stage: int) -> Tensor:
        """Return a stage's output as a map ``(B, C, H, W)``, without class tokens."""
        return self.view.to_map(self.stages[stage], stage)

    def with_records(self, records: Mapping[str, list]) -> Observation:
        """Return a copy of the observation with the buffers of MMRazor recorders."""
        return replace(self, records=records)


def labels_of(data_samples: list[BaseDataElement] | None) -> Tensor | None:
    """Collect a batch's labels ``(B, )``, as MMPretrain's heads do. A mixed image gets the label with the larger share.

    Returns:
        Tensor | None: Class indices, with ``UNLABELED`` for images without a label. None if no image has a label.
    """
    if not data_samples:
        return None
    if all('gt_label' in sample and 'gt_score' not in sample for sample in data_samples):
        return torch.cat([sample.gt_label for sample in data_samples])
    labels = [_label(sample) for sample in data_samples]
    known = next((label for label in labels if label is not None), None)
    if known is None:
        return None
    unlabeled = torch.full_like(known, UNLABELED)
    return torch.cat([unlabeled if label is None else label for label in labels])


def _label(sample: BaseDataElement) -> Tensor | None:
    """Return the label ``(1, )`` of a sample."""
    if 'gt_score' in sample:
        return sample.gt_score.argmax(dim=0, keepdim=True)
    return sample.gt_label if 'gt_label' in sample else None
