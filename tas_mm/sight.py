"""What teacher, assistant and student make of images: the map of every stage, and the logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .models.algorithms import TAS
from .models.stages import StagedClassifier
from .models.stages.base import copy_tensors, evaluating


@dataclass
class Sight:
    """What one network makes of a batch.

    Attributes:
        maps (dict): ``1`` to ``4``, the number of a stage, -> its map ``(B, C, H, W)``. Of the assistant, whose early
            stages are another network's, only those that follow; what the projector gives stands in place of the stage
            that it imitates.
        logits (Tensor): ``(B, num_classes)``.
    """

    maps: dict[int, Tensor]
    logits: Tensor


@torch.no_grad()
def look(algorithm: TAS, images: Tensor) -> dict[str, Sight]:
    """Run all networks of a distillation on a batch, in eval mode.

    Args:
        algorithm (TAS): A distillation by one of tas_mm's distillers.
        images (Tensor): As the student's preprocessor gives them, ``(B, C, H, W)``.

    Returns:
        dict: Of ``teacher``, ``assistant`` (if there is one) and ``student``, in this order.

    Raises:
        ValueError: If the images are of another size than the networks were laid out for.
    """
    distiller = algorithm.distiller
    views = dict(teacher=distiller.teacher_view, student=distiller.student_view)
    size = tuple(views['student'].input_size)
    if tuple(images.shape[-2:]) != size:
        raise ValueError(f'images of {tuple(images.shape[-2:])}, but the networks were laid out for {size}')
    sights = {}
    with evaluating(algorithm):
        for role, view in views.items():
            with _maps(view) as maps:
                run = algorithm.run_teacher if role == 'teacher' else lambda x: algorithm.student(x, mode='tensor')
                sights[role] = Sight(maps, run(images))
        assistant = getattr(distiller, 'assistant', None)
        if assistant is not None:
            maps: dict[int, Tensor] = {}
            hook = assistant.projector.register_forward_hook(lambda module, inputs, y: maps.update({-1: y.clone()}))
            try:
                with _maps(assistant.late) as late:
                    logits = assistant.forward_train(sights[assistant.early_role].maps[assistant.early_stages]).logits
            finally:
                hook.remove()
            own = {stage: y for stage, y in late.items() if stage >= assistant.start}
            sights['assistant'] = Sight({assistant.start - 1: maps[-1], **own}, logits)
    return {role: sights[role] for role in ('teacher', 'assistant', 'student') if role in sights}


@contextmanager
def _maps(view: StagedClassifier) -> Iterator[dict[int, Tensor]]:
    """Keep the maps of the stages that run within it."""
    maps: dict[int, Tensor] = {}

    def keep(stage: int) -> Any:
        # A copy, since the modules that follow may write into it.
        return lambda module, inputs, output: maps.update({stage: view.to_map(copy_tensors(output), stage)})

    hooks = [
        view.model.get_submodule(stage.source).register_forward_hook(keep(i)) for i, stage in enumerate(view.stages, 1)
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def attention(feature: Tensor) -> Tensor:
    """Where a stage attends to: the mean square over channels, scaled to 0 to 1 in each image.

    The activation-based attention of Zagoruyko and Komodakis (arXiv 1612.03928).

    Args:
        feature (Tensor): Map ``(B, C, H, W)``.

    Returns:
        Tensor: ``(B, H, W)``.
    """
    energy = feature.float().square().mean(dim=1)
    low, high = energy.amin(dim=(1, 2), keepdim=True), energy.amax(dim=(1, 2), keepdim=True)
    return (energy - low) / (high - low).clamp_min(1e-12)
