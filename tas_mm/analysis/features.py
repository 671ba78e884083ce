"""Outputs of teacher, assistant and student for a batch: the map of every stage, and the logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tas_mm.models import TAS, HybridAssistant
from tas_mm.models.distillers import interface_of
from tas_mm.models.stages import StageView
from tas_mm.models.utils import each_tensor, eval_mode


@dataclass
class Features:
    """Stage outputs of one network for a batch.

    Attributes:
        maps (dict): Number of a stage, ``1`` to ``4``, to its map ``(B, C, H, W)``. The assistant only has the stages
            after its early part, which belongs to another network. The projector's output stands for the stage that it
            imitates.
        logits (Tensor | None): Logits ``(B, num_classes)``. None for a network without a head.
    """

    maps: dict[int, Tensor]
    logits: Tensor | None


@torch.no_grad()
def collect_features(algorithm: TAS, images: Tensor) -> dict[str, Features]:
    """Run all networks of a distillation on a batch, in eval mode.

    Args:
        algorithm (TAS): A distillation from one teacher.
        images (Tensor): Images from the student's preprocessor, ``(B, C, H, W)``.

    Returns:
        dict: Features of ``teacher``, ``assistant`` (if there is one) and ``student``, in this order.

    Raises:
        ValueError: If the images have a size other than the one the networks are built for.
    """
    interface = interface_of(algorithm)
    expected, given = tuple(interface.student_view.input_size), tuple(images.shape[-2:])
    if given != expected:
        raise ValueError(f'images of {given}. Expected {expected}, the size that the networks are built for')
    runs = dict(
        teacher=(interface.teacher_view, algorithm.teacher.logits),
        student=(interface.student_view, partial(algorithm.student, mode='tensor')),
    )
    features = {}
    with eval_mode(algorithm):
        for role, (view, run) in runs.items():
            with _capture_maps(view) as maps:
                output = run(images)
            features[role] = Features(maps, None if view.headless else output)
        if interface.assistant is not None:
            features['assistant'] = _assistant_features(interface.assistant, features)
    return {role: features[role] for role in ('teacher', 'assistant', 'student') if role in features}


def _assistant_features(assistant: HybridAssistant, features: dict[str, Features]) -> Features:
    early = features[assistant.early_role].maps[assistant.early_stages]
    projected: list[Tensor] = []
    hook = assistant.projector.register_forward_hook(lambda module, inputs, y: projected.append(y.clone()))
    try:
        with _capture_maps(assistant.late) as late:
            logits = assistant(early).logits
    finally:
        hook.remove()
    own = {stage: y for stage, y in late.items() if stage >= assistant.start}
    return Features({assistant.start - 1: projected[0], **own}, logits)


@contextmanager
def _capture_maps(view: StageView) -> Iterator[dict[int, Tensor]]:
    """Keep the maps of the stages that run inside the context."""
    maps: dict[int, Tensor] = {}

    def keep(stage: int, module: nn.Module, inputs: tuple, output: Any) -> None:
        # A copy, because later modules may write in place.
        maps[stage] = view.to_map(each_tensor(torch.clone, output), stage)

    sources = {stage: view.model.get_submodule(each.source) for stage, each in enumerate(view.stages, 1)}
    hooks = [module.register_forward_hook(partial(keep, stage)) for stage, module in sources.items()]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def attention(feature: Tensor) -> Tensor:
    """Compute where a stage responds: the mean square over channels, scaled to 0 to 1 in each image.

    This is the activation-based attention of Zagoruyko and Komodakis (arXiv 1612.03928).

    Args:
        feature (Tensor): Map ``(B, C, H, W)``.

    Returns:
        Tensor: Attention ``(B, H, W)``.

    Examples:
        >>> import torch
        >>> from tas_mm.analysis.features import attention
        >>> attention(torch.tensor([[[[3.0, 0.0]], [[-4.0, 1.0]]]])).tolist()
        [[[1.0, 0.0]]]
    """
    energy = feature.float().square().mean(dim=1)
    low, high = energy.amin(dim=(1, 2), keepdim=True), energy.amax(dim=(1, 2), keepdim=True)
    return (energy - low) / (high - low).clamp_min(1e-12)
