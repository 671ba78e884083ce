"""What teacher, assistant and student cost, what the assistant shares with them, and what trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .inspect import Rows, cost
from .models.algorithms import TAS
from .models.stages import StagedClassifier
from .models.stages.base import copy_tensors, evaluating

HEADER = ('network', 'part', 'whose', 'parameters', 'of them train', 'multiply-adds', 'activations')


@dataclass
class Part:
    """A part of a distillation.

    Attributes:
        network (str): ``teacher``, ``assistant``, ``student``, ``losses``, or the sum.
        part (str): Which part of it.
        owner (str): ``own``, or the network with which it is shared.
        parameters (set): Its parameters.
        multiply_adds (int): Of one image's forward pass.
        activations (int): Elements of what its convolutions and matrix products give for one image.
    """

    network: str
    part: str
    owner: str
    parameters: set[nn.Parameter]
    multiply_adds: int = 0
    activations: int = 0

    @property
    def row(self) -> tuple[str, ...]:
        counts = (
            sum(p.numel() for p in self.parameters),
            sum(p.numel() for p in self.parameters if p.requires_grad),
            self.multiply_adds,
            self.activations,
        )
        return (self.network, self.part, self.owner, *(_short(count) for count in counts))


def _short(count: int) -> str:
    for scale, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if count >= scale:
            return f'{count / scale:.2f} {unit}'
    return str(count)


class _Stop(Exception):
    """Raised to end a forward pass at a cut."""


def parts_of(algorithm: TAS) -> list[Part]:
    """The parts of a distillation: both networks, the assistant's three parts, and what a training step needs of all.

    Args:
        algorithm (TAS): A distillation by one of tas_mm's distillers.

    Returns:
        list: The parts. The stages that the assistant starts from have run already when it does, in their own network:
        the sum counts them once.
    """
    distiller = algorithm.distiller
    views = dict(teacher=distiller.teacher_view, student=distiller.student_view)
    parts = [
        Part(role, 'whole', 'own', set(view.model.parameters()), *cost(view.model, view.images(1)))
        for role, view in views.items()
    ]
    counted = list(parts)
    assistant = getattr(distiller, 'assistant', None)
    if assistant is not None:
        early, late = assistant.early, assistant.late
        early_part = _early_part(early, assistant.early_stages)
        stages = f'stage{"s" if assistant.early_stages > 1 else ""} 1 to {assistant.early_stages}'
        parts.append(Part('assistant', stages, f"the {assistant.early_role}'s", *early_part))
        given, wanted = early.stages[assistant.early_stages - 1], late.stages[assistant.start - 2]
        device = next(algorithm.parameters()).device
        x = torch.zeros(1, given.channels, *given.grid, device=device)
        projector = Part(
            'assistant',
            f'projector ({type(assistant.projector).__name__})',
            'own',
            set(assistant.parameters()),
            *cost(assistant.projector, x),
        )
        y = torch.zeros(1, wanted.channels, *wanted.grid, device=device)
        run = lambda y: sum(k.sum() for k in late.tail(late.from_map(y, assistant.start - 1), assistant.start))  # noqa: E731
        name = {0: 'head', 1: 'stage 4 and head'}.get(assistant.late_stages, f'stages {assistant.start} to 4 and head')
        late_part = Part(
            'assistant',
            name,
            f"the {assistant.late_role}'s",
            _used(late.model, lambda: run(y)),
            *cost(run, y, model=late.model),
        )
        parts += [projector, late_part]
        whole = set().union(*(part.parameters for part in parts[2:]))
        costs = [sum(getattr(part, name) for part in parts[2:]) for name in ('multiply_adds', 'activations')]
        parts.append(Part('assistant', 'whole', '', whole, *costs))
        counted += [projector, late_part]
    others = set(distiller.parameters()) - (set(assistant.parameters()) if assistant is not None else set())
    losses = Part('losses', 'temperatures, linear layers', 'own', others)
    everything = set().union(*(part.parameters for part in (*parts, losses)))
    costs = [sum(getattr(part, name) for part in counted) for name in ('multiply_adds', 'activations')]
    return [*parts, losses, Part('a training step', 'all, each once', '', everything, *costs)]


def summary_rows(algorithm: TAS) -> Rows:
    """The parts as rows of a table with ``HEADER``."""
    return [part.row for part in parts_of(algorithm)]


def _early_part(view: StagedClassifier, stages: int) -> tuple[set[nn.Parameter], int, int]:
    """Parameters and costs of the first stages of a network."""
    end = view.model.get_submodule(view.stages[stages - 1].source)
    found: list[Tensor] = []

    def stop(module: nn.Module, inputs: tuple, output: Any) -> None:
        found.append(view.to_map(copy_tensors(output), stages))
        raise _Stop

    def run(images: Tensor) -> Tensor:
        hook = end.register_forward_hook(stop)
        try:
            view.model(images, mode='tensor')
        except _Stop:
            pass
        finally:
            hook.remove()
        return found.pop().sum()

    images = view.images(1)
    return _used(view.model, lambda: run(images)), *cost(run, images, model=view.model)


def _used(model: nn.Module, run: Callable[[], Tensor]) -> set[nn.Parameter]:
    """The parameters of a model that a result depends on, which autograd knows, whether they train or not."""
    parameters = list(model.parameters())
    trained = [p.requires_grad for p in parameters]
    with evaluating(model), torch.enable_grad():
        try:
            model.requires_grad_(True)
            gradients = torch.autograd.grad(run(), parameters, allow_unused=True)
        finally:
            for parameter, train in zip(parameters, trained):
                parameter.requires_grad_(train)
    return {p for p, gradient in zip(parameters, gradients) if gradient is not None}
