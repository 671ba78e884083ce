"""A fault of MMPretrain's preprocessor: it only checks the first image of a batch for a label.

With labeled and unlabeled images in one batch it fails, or leaves labels on the CPU and does not mix images. The
adapted one processes labeled images as before, and mixes the others (mixup, cutmix) among themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def adapt(adapted: dict[str, str]) -> None:
    """Make the preprocessor accept images without labels, if it does not."""
    from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(0), DataSample()]
    try:
        ClsDataPreprocessor()(dict(inputs=torch.zeros(2, 1, 1, 1), data_samples=samples))
    except AttributeError:
        ClsDataPreprocessor.forward = _in_two_groups(ClsDataPreprocessor.forward, DataSample)
        adapted['mmpretrain (labels)'] = 'a batch may have images with labels and others without'


def _in_two_groups(forward: Callable, sample_type: Any) -> Callable:
    @wraps(forward)
    def wrapped(self: Any, data: dict, training: bool = False) -> dict:
        samples = data.get('data_samples') or []
        labeled = [
            isinstance(sample, sample_type) and ('gt_label' in sample or 'gt_score' in sample) for sample in samples
        ]
        mixes = training and self.batch_augments is not None and all(isinstance(s, sample_type) for s in samples)
        if all(labeled) or not (any(labeled) or mixes):
            return forward(self, data, training)
        groups = [[i for i, each in enumerate(labeled) if each is wanted] for wanted in (True, False)]
        parts = []
        if groups[0]:
            own = [samples[i] for i in groups[0]]  # their labels and scores are set in place
            parts.append(forward(self, dict(inputs=_chosen(data['inputs'], groups[0]), data_samples=own), training))
        parts.append(forward(self, dict(inputs=_chosen(data['inputs'], groups[1]))))
        inputs = [part['inputs'] for part in parts]
        if mixes:
            inputs[-1], _ = self.batch_augments(inputs[-1], inputs[-1].new_zeros(len(groups[1]), 1))
        order = torch.tensor(sum(groups, []), device=inputs[0].device)
        return dict(inputs=torch.cat(inputs)[order.argsort()], data_samples=samples)

    return wrapped


def _chosen(inputs: Any, indices: list[int]) -> Any:
    return inputs[indices] if isinstance(inputs, torch.Tensor) else [inputs[i] for i in indices]
