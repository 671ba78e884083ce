"""Costs of each part of a distillation: parameters, multiply-adds and activations.

Multiply-adds and activations of convolutions and matrix products are counted, in the forward pass of one image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tas_mm.models import TAS, HybridAssistant
from tas_mm.models.distillers import interface_of
from tas_mm.models.utils import each_tensor, eval_mode

from .counting import cost
from .tables import Rows

HEADER = ('network', 'part', 'whose', 'parameters', 'of them train', 'multiply-adds', 'activations')


@dataclass
class Part:
    """Part of a distillation and its costs.

    Attributes:
        network (str): ``teacher``, ``assistant``, ``student``, ``losses``, or ``a training step`` for the sum.
        part (str): Part of that network.
        owner (str): ``own``, or the network that the part is shared with.
        parameters (set): Parameters of the part.
        multiply_adds (int): Multiply-adds of one image's forward pass.
        activations (int): Number of elements in the outputs of convolutions and matrix products, for one image.
    """

    network: str
    part: str
    owner: str
    parameters: set[nn.Parameter]
    multiply_adds: int = 0
    activations: int = 0

    @property
    def row(self) -> tuple[str, ...]:
        """Cells under :data:`HEADER`."""
        counts = (
            sum(p.numel() for p in self.parameters),
            sum(p.numel() for p in self.parameters if p.requires_grad),
            self.multiply_adds,
            self.activations,
        )
        return (self.network, self.part, self.owner, *(_short(count) for count in counts))


def cost_rows(algorithm: TAS) -> Rows:
    """List the parts of a distillation as rows under :data:`HEADER`."""
    return [part.row for part in parts_of(algorithm)]


def parts_of(algorithm: TAS) -> list[Part]:
    """Measure both networks, the assistant's three parts, the losses, and their sum.

    The early stages of the assistant have already run in their own network, so the sum counts them once.

    Args:
        algorithm (TAS): A distillation from one teacher.
    """
    interface = interface_of(algorithm)
    views = dict(teacher=interface.teacher_view, student=interface.student_view)
    networks = [
        Part(role, 'whole', 'own', set(view.model.parameters()), *cost(view.run, view.images(1), model=view.model))
        for role, view in views.items()
    ]
    assistant = [] if interface.assistant is None else _assistant_parts(interface.assistant)
    whole = [_sum('assistant', 'whole', assistant)] if assistant else []
    others = set(algorithm.distiller.parameters()).difference(*(part.parameters for part in assistant))
    losses = Part('losses', 'temperatures, linear layers', 'own', others)
    step = _sum('a training step', 'all, each once', [*networks, *assistant[1:], losses])
    return [*networks, *assistant, *whole, losses, step]


def _assistant_parts(assistant: HybridAssistant) -> list[Part]:
    """Measure the assistant's early stages, its projector and its late part, in this order."""
    given = assistant.early.stages[assistant.early_stages - 1]
    x = torch.zeros(1, given.channels, *given.grid, device=next(assistant.parameters()).device)
    projector = cost(assistant.projector, x)
    with eval_mode(assistant.projector):
        late = [whole - part for whole, part in zip(cost(assistant, x, model=assistant.late.model), projector)]
        x.requires_grad_()
        used = _used(assistant.late.model, lambda: sum(each.sum() for each in assistant(x) if each is not None))
    stages = f'stage{"s" if assistant.early_stages > 1 else ""} 1 to {assistant.early_stages}'
    own = f'projector ({type(assistant.projector).__name__})'
    tail = {0: 'head', 1: 'stage 4 and head'}.get(assistant.late_stages, f'stages {assistant.start} to 4 and head')
    return [
        Part('assistant', stages, f"the {assistant.early_role}'s", *_early_part(assistant)),
        Part('assistant', own, 'own', set(assistant.parameters()), *projector),
        Part('assistant', tail, f"the {assistant.late_role}'s", used, *late),
    ]


def _early_part(assistant: HybridAssistant) -> tuple[set[nn.Parameter], int, int]:
    """Measure the first stages of the early network: parameters, multiply-adds, activations."""
    view, stage = assistant.early, assistant.early_stages
    images, end = view.images(1), view.model.get_submodule(view.stages[stage - 1].source)
    found: list[Tensor] = []

    def stop(module: nn.Module, inputs: tuple, output: Any) -> None:
        # A copy, because later modules may write in place.
        found.append(view.to_map(each_tensor(torch.clone, output), stage))
        raise _Stop

    def run() -> Tensor:
        hook = end.register_forward_hook(stop)
        try:
            view.run(images)
        except _Stop:
            pass
        finally:
            hook.remove()
        return found.pop().sum()

    return _used(view.model, run), *cost(run, model=view.model)


class _Stop(Exception):
    """Raised to end a forward pass at a cut."""


def _used(model: nn.Module, run: Callable[[], Tensor]) -> set[nn.Parameter]:
    """Collect the parameters of a model that a result depends on, whether they train or not."""
    parameters = list(model.parameters())
    trained = [p.requires_grad for p in parameters]
    with eval_mode(model), torch.enable_grad():
        try:
            model.requires_grad_(True)
            gradients = torch.autograd.grad(run(), parameters, allow_unused=True)
        finally:
            for parameter, train in zip(parameters, trained):
                parameter.requires_grad_(train)
    return {p for p, gradient in zip(parameters, gradients) if gradient is not None}


def _sum(network: str, part: str, parts: Sequence[Part]) -> Part:
    """Add up parts. A parameter that several parts share counts once."""
    parameters = set().union(*(each.parameters for each in parts))
    costs = (sum(getattr(each, name) for each in parts) for name in ('multiply_adds', 'activations'))
    return Part(network, part, '', parameters, *costs)


def _short(count: int) -> str:
    for scale, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if count >= scale:
            return f'{count / scale:.2f} {unit}'
    return str(count)
