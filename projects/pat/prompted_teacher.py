"""The prompted teacher: a second pass from stage 1 on, with a trained prompt added to the output of stages 1 to 3."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tas_mm.models import Observation, Observer, StageView
from tas_mm.models.utils import checkpointing_off, each_tensor, eval_mode, teacher_autocast, to_float32

from .modules import FeedbackPrompt, adapter_for

LATER_STAGES = (2, 3, 4)


class PromptedTeacher(nn.Module):
    """Prompts for the stages of a teacher, and the pass with them. The teacher's weights stay out of this module.

    A prompt receives the gap between student and teacher in the stage after it.

    Args:
        view (StageView): View of the teacher.
    """

    def __init__(self, view: StageView) -> None:
        super().__init__()
        adapter = adapter_for(view.family)
        self.prompts = nn.ModuleList(
            FeedbackPrompt(
                here.channels,
                nn.Identity()
                if (here.channels, here.grid) == (after.channels, after.grid)
                else adapter(after.channels, after.grid, here.channels, here.grid),
            )
            for here, after in zip(view.stages, view.stages[1:])
        )

    def forward(self, view: StageView, native1: Any, gaps: Mapping[int, Tensor]) -> tuple[list[Tensor], Tensor]:
        """Run the teacher from its stage 1 on.

        Args:
            view (StageView): View of the teacher.
            native1: Native output of the teacher's stage 1.
            gaps (Mapping): Of stages 2 to 4 the gap ``(B, C, H, W)``, by the stage's number; a gap that is missing, or
                of a batch of another size, counts as zero.

        Returns:
            tuple: Stages 1 to 4 as maps, each before its own prompt is added, and the logits, in float32.
        """
        maps = {1: to_float32(view.to_map(native1, 1))}
        observer, prompts = Observer(view, knowledge=['logits']), self._hang_prompts(view, gaps, maps)
        try:
            with teacher_autocast(view.model, maps[1])[0], checkpointing_off(view.model):
                start = self._prompted(view, native1, maps[1], gaps, 1)
                seen, _ = observer(view.run_tail, start, start=2)
        finally:
            for hook in (observer, *prompts):
                hook.remove()
        return [maps[stage] for stage in (1, *LATER_STAGES)], to_float32(seen.logits)

    def check(self, view: StageView) -> None:
        """Make sure, on noise, that prompts that add nothing change nothing.

        Raises:
            ValueError: If the teacher, run from its stage 1 on, gives other logits than the whole network.
        """
        with eval_mode(view.model), eval_mode(self):
            known = observe_once(view, view.images(2, noise=True))
            whole, prompted = to_float32(known.logits), self(view, known.stages[1], {})[1]
        error = float((prompted - whole).abs().max() / whole.abs().max().clamp_min(1e-12))
        if not error <= 1e-3:
            raise ValueError(
                f'{view.key}: PAT cannot prompt {type(view.net).__name__}. Run from the output of '
                f'{view.stages[0].source}, its later stages give other logits than the whole network (relative error '
                f'{error:.2g}), so they read more than that output, or write into it. Use another teacher or method'
            )

    def _hang_prompts(
        self, view: StageView, gaps: Mapping[int, Tensor], maps: dict[int, Tensor]
    ) -> list[RemovableHandle]:
        """Hang hooks on stages 2 to 4 that keep their maps, and add prompts for the next stage."""

        def prompt(module: nn.Module, inputs: tuple, native: Any, stage: int) -> Any:
            maps[stage] = to_float32(view.to_map(native, stage))
            return self._prompted(view, native, maps[stage], gaps, stage) if stage < 4 else native

        modules = {stage: view.model.get_submodule(view.stages[stage - 1].source) for stage in LATER_STAGES}
        return [module.register_forward_hook(partial(prompt, stage=stage)) for stage, module in modules.items()]

    def _prompted(self, view: StageView, native: Any, x: Tensor, gaps: Mapping[int, Tensor], stage: int) -> Any:
        """Add a stage's prompt to its native output; ``x`` is the same as a map."""
        after, gap = view.stages[stage], gaps.get(stage + 1)
        if gap is None or len(gap) != len(x):
            gap = x.new_zeros(len(x), after.channels, *after.grid)
        return add_map(view, native, self.prompts[stage - 1](x, gap), stage)


def observe_once(view: StageView, images: Tensor) -> Observation:
    """Run a network on images, and return its logits and the native output of stage 1."""
    observer = Observer(view, [1], knowledge=['logits'])
    try:
        return observer(view.run, images)[0]
    finally:
        observer.remove()


def add_map(view: StageView, native: Any, x: Tensor, stage: int) -> Any:
    """Add a map ``(B, C, H, W)`` to a stage's native output; class tokens stay as they are."""
    there, here = (tensors(view.from_map(y, stage, class_token='own')) for y in (x, torch.zeros_like(x)))
    shifts = zip(there, here)

    def add(leaf: Tensor) -> Tensor:
        shifted, base = next(shifts)
        return leaf + (shifted - base) if leaf.is_floating_point() else leaf

    return each_tensor(add, native)


def tensors(data: Any) -> list[Tensor]:
    """Collect the tensors in nested tuples, lists and dicts."""
    found: list[Tensor] = []
    each_tensor(found.append, data)
    return found
