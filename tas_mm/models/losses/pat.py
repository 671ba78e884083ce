"""PAT: all stages of the student, seen through attention, against a teacher that is prompted to suit it.

Source: Perspective-Aware Teaching, ICCV 2025, arXiv 2501.08885. Stage k of a CNN and of a transformer look at an image
in different ways. So the student's four stages first exchange what they have seen (region-aware attention), and the
teacher's stages are adapted to the student by prompts that know how far it was off (adaptive feedback prompts).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import SELayer
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..connectors.hybrid_assistant import in_its_type
from ..connectors.statistics import checkpointing_off
from ..stages import STAGES, StagedClassifier
from ..stages.base import evaluating
from .utils import exact

Grid = tuple[int, int]


@MODELS.register_module()
class PATLoss(nn.Module):
    r"""Stages of the student against those of the prompted teacher, which keeps its logits.

    With :math:`m_k` the student's stage k, drawn from all its stages by attention and brought to the teacher's shape,
    :math:`t_k` the prompted teacher's stage k, :math:`p` the teacher's probabilities and :math:`\hat p` those of the
    prompted teacher:

    .. math:: L = w_f \sum_{k=1}^4 \mathrm{HCL}(m_k, t_k) + w_p \, \mathrm{KL}(p \,\|\, \hat p)

    HCL is the mean square error of two maps and of what pooling leaves of them (:func:`hierarchical`).

    The teacher runs a second time, from its recorded stage 1 on, with a prompt added to the output of stages 1 to 3.
    Its weights and its own pass stay as they are; attention and prompts belong to the loss. A prompt is told by how
    much the student missed the next stage *in the step before*, on other images, as the authors have it; in the first
    step, after a batch of another size, and when a run resumes, it is told nothing.

    It reads all stages of the student by itself, so its term has no ``reads``. The paper adds plain distillation:
    ``configs/_base_/distillers/pat.py``.

    Args:
        dim (int): Width of the attention. Defaults to 512, the authors'.
        num_queries (int): Regions that the student is seen as, a fourth of them, which is a square, for each stage.
            Defaults to 64, the authors'.
        num_heads (int): Of the attention. Defaults to 8, the authors'.
        feature_weight (float): The weight :math:`w_f`. Defaults to 1, the authors'.
        prompt_weight (float): The weight :math:`w_p`. Defaults to 1, the authors'.

    Raises:
        ValueError: If ``dim`` and ``num_heads``, or ``num_queries``, do not fit.
    """

    records = {
        **{stage: dict(recorder=stage, from_student=True) for stage in STAGES},
        'native1': dict(recorder='native1', from_student=False),
        'logits_T': dict(recorder='logits', from_student=False),
    }
    """What ``forward`` gets, in MMRazor's format."""

    keeps_autocast = True
    """Its networks run as autocast has it; what they give is compared in float32."""

    def __init__(
        self,
        dim: int = 512,
        num_queries: int = 64,
        num_heads: int = 8,
        feature_weight: float = 1.0,
        prompt_weight: float = 1.0,
    ) -> None:
        super().__init__()
        side = math.isqrt(max(0, num_queries) // 4)
        if side == 0 or 4 * side**2 != num_queries:
            raise ValueError(f'PATLoss: num_queries={num_queries}, but it must be four times a square: 4, 16, 36, 64')
        if dim <= 0 or dim % 2 or dim % num_heads:
            raise ValueError(f'PATLoss: dim={dim}, but it must be even and a multiple of num_heads={num_heads}')
        self.dim = dim
        self.side = side
        self.num_heads = num_heads
        self.feature_weight = feature_weight
        self.prompt_weight = prompt_weight
        self._gaps: dict[int, Tensor] = {}  # by stage, of the step before

    def bind(self, student: StagedClassifier, teacher: StagedClassifier) -> None:
        """Build attention, adapters and prompts for the stages of a pair.

        Raises:
            ValueError: If images are of many sizes, or the teacher, run from its recorded stage 1 on, is not the same.
        """
        if teacher.any_size:
            raise ValueError(f'{teacher.key}: PATLoss is laid out for images of one size, which a detector has not')
        self.teacher = teacher  # a view, which is no module: the teacher's weights are none of the loss's
        regions = (self.side, self.side)
        adapter = MapAdapter if teacher.family == 'cnn' else TokenAdapter
        self.attention = RegionAwareAttention(
            [(stage.channels, stage.grid) for stage in student.stages], self.side, self.dim, self.num_heads
        )
        stages = teacher.stages
        self.adapters = nn.ModuleList(adapter(self.dim, regions, stage.channels, stage.grid) for stage in stages)
        self.prompts = nn.ModuleList(
            FeedbackPrompt(
                here.channels,
                nn.Identity()
                if (here.channels, here.grid) == (after.channels, after.grid)
                else adapter(after.channels, after.grid, here.channels, here.grid),
            )
            for here, after in zip(stages, stages[1:])
        )
        self._check_teacher()

    def _check_teacher(self) -> None:
        """Make sure, on noise, that prompts that add nothing change nothing."""
        view, record = self.teacher, {}
        source = view.stages[0].source
        hook = view.model.get_submodule(source).register_forward_hook(
            lambda module, inputs, out: record.update(out=out)
        )
        with evaluating(view.model), evaluating(self):
            try:
                with view.watching() as known:
                    view.run(view.images(2, noise=True))
            finally:
                hook.remove()
            whole, prompted = exact(known['logits']), self.run_prompted(record['out'])[1]
        error = float((prompted - whole).abs().max() / whole.abs().max().clamp_min(1e-12))
        if not error <= 1e-3:
            raise ValueError(
                f'{view.key}: PATLoss cannot prompt {type(view.net).__name__}: run from the output of {source}, its '
                f'stages give another result than the whole network (relative error {error:.2g}), so they read more '
                'than that output, or write into it; leave out the term'
            )

    def forward(
        self, stage1: Tensor, stage2: Tensor, stage3: Tensor, stage4: Tensor, native1: object, logits_T: Tensor
    ) -> Tensor:
        """Compute the loss.

        Args:
            stage1, stage2, stage3, stage4 (Tensor): The student's stages as maps ``(B, C, H, W)``.
            native1: What the teacher's stage 1 gives its stage 2.
            logits_T (Tensor): The teacher's logits ``(B, num_classes)``.

        Returns:
            Tensor: A scalar, at least 0.
        """
        if not hasattr(self, 'teacher'):
            raise ValueError("PATLoss has not seen the two networks: distil with type='tas_mm.PairDistiller'")
        wanted, logits = self.run_prompted(native1)
        regions = self.attention([stage1, stage2, stage3, stage4])
        given = [exact(adapter(region)) for adapter, region in zip(self.adapters, regions)]
        # A gap that is not finite would spoil every step that follows.
        self._gaps = {k: (given[k - 1] - wanted[k - 1]).detach().nan_to_num(0.0, 0.0, 0.0) for k in (2, 3, 4)}
        with torch.autocast(logits.device.type, enabled=False):
            features = sum(hierarchical(m, t) for m, t in zip(given, wanted))
            p, q = exact(logits_T).log_softmax(1), logits.log_softmax(1)
            kept = F.kl_div(q, p, reduction='batchmean', log_target=True)
        return self.feature_weight * features + self.prompt_weight * kept

    def run_prompted(self, native1: object) -> tuple[list[Tensor], Tensor]:
        """Stages 1 to 4 of the prompted teacher as maps, each without its own prompt, and its logits."""
        view = self.teacher
        maps = {1: exact(view.to_map(native1, 1))}

        def adapt(stage: int) -> Callable:
            def hook(module: nn.Module, inputs: tuple, native: object) -> object:
                maps[stage] = exact(view.to_map(native, stage))
                return self._prompted(native, maps[stage], stage) if stage < 4 else native

            return hook

        hooks = [
            view.model.get_submodule(view.stages[stage - 1].source).register_forward_hook(adapt(stage))
            for stage in (2, 3, 4)
        ]
        try:
            with in_its_type(view.model, maps[1])[0], checkpointing_off(view.model):
                logits = view.tail(self._prompted(native1, maps[1], 1), 2).logits
        finally:
            for hook in hooks:
                hook.remove()
        return [maps[stage] for stage in (1, 2, 3, 4)], exact(logits)

    def _prompted(self, native: object, x: Tensor, stage: int) -> object:
        """The teacher's native output of a stage, and the prompt for it added; ``x`` is the same as a map."""
        after = self.teacher.stages[stage]
        gap = self._gaps.get(stage + 1)
        if gap is None or len(gap) != len(x):
            gap = x.new_zeros(len(x), after.channels, *after.grid)
        return self.teacher.add_map(native, self.prompts[stage - 1](x, gap), stage)


def hierarchical(given: Tensor, wanted: Tensor) -> Tensor:
    """Mean square error of two maps, and with half the weight each time of their 4x4, 2x2 and 1x1 averages.

    Source: hierarchical context loss of ReviewKD, arXiv 2104.09044. The weights are divided by their sum; averages onto
    a grid that is not coarser than the map are left out.
    """
    sides = [side for side in (4, 2, 1) if side < min(wanted.shape[2:])]
    errors = [F.mse_loss(given, wanted)]
    errors += [F.mse_loss(F.adaptive_avg_pool2d(given, n), F.adaptive_avg_pool2d(wanted, n)) for n in sides]
    weights = [0.5**i for i in range(len(errors))]
    return sum(weight * error for weight, error in zip(weights, errors)) / sum(weights)


class RegionAwareAttention(nn.Module):
    """All stages as regions on one grid, every region attending to those of every stage."""

    def __init__(self, stages: Sequence[tuple[int, Grid]], side: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.patches = [tuple(math.ceil(length / side) for length in grid) for _, grid in stages]
        self.embeds = nn.ModuleList(
            nn.Conv2d(channels, dim, patch, stride=patch) for (channels, _), patch in zip(stages, self.patches)
        )
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.side = side
        self.num_heads = num_heads
        self.register_buffer('positions', sinusoids(len(self.patches) * side**2, dim), persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps ``(B, C, H, W)`` of the stages to as many maps ``(B, dim, side, side)``."""
        regions = [self._embed(x, i) for i, x in enumerate(maps)]  # of each stage BxNxC
        q, k, v = self.to_qkv(self.norm(torch.cat(regions, dim=1))).chunk(3, dim=2)
        q, k, v = (
            x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (q + self.positions, k + self.positions, v)
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        grid = (self.side, self.side)
        return [x.transpose(1, 2).unflatten(2, grid) for x in seen.split(self.side**2, dim=1)]

    def _embed(self, x: Tensor, stage: int) -> Tensor:
        size = tuple(self.side * length for length in self.patches[stage])
        x = x if x.shape[-2:] == size else F.interpolate(x, size)
        return self.embeds[stage](x).flatten(2).transpose(1, 2)


class MapAdapter(nn.Module):
    """A map to another width and grid, for a CNN: nearest pixels, batch norm and a 1x1 convolution."""

    def __init__(self, in_channels: int, in_grid: Grid, out_channels: int, out_grid: Grid) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.grid = out_grid
        nn.init.kaiming_normal_(self.conv.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, *in_grid)`` to ``(B, out_channels, *out_grid)``."""
        return self.conv(self.norm(F.interpolate(x, self.grid)))


class TokenAdapter(nn.Module):
    """A map to another width and grid, for tokens: a linear layer over channels and one over positions."""

    def __init__(self, in_channels: int, in_grid: Grid, out_channels: int, out_grid: Grid) -> None:
        super().__init__()
        self.channels = nn.Sequential(
            OrderedDict(norm=nn.BatchNorm1d(math.prod(in_grid)), linear=nn.Linear(in_channels, out_channels))
        )
        self.positions = nn.Sequential(
            OrderedDict(norm=nn.BatchNorm1d(out_channels), linear=nn.Linear(math.prod(in_grid), math.prod(out_grid)))
        )
        self.grid = out_grid
        for layer in (self.channels.linear, self.positions.linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, *in_grid)`` to ``(B, out_channels, *out_grid)``."""
        x = self.channels(x.flatten(2).transpose(1, 2)).transpose(1, 2)  # BxCxN
        return self.positions(x).unflatten(2, self.grid)


class FeedbackPrompt(nn.Module):
    """What is added to a stage of the teacher, from that stage and the gap to the student in the next.

    Its factor starts at 0, so that the prompted teacher starts as the teacher.
    """

    def __init__(self, channels: int, align: nn.Module) -> None:
        super().__init__()
        groups = math.gcd(channels, 4)
        self.align = align
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1),
            nn.Conv2d(channels, channels, 5, padding=2),
            nn.Conv2d(channels, channels, 1),
            SELayer(channels),
            nn.Conv2d(channels, channels, 1),
        )
        self.prompt = nn.Sequential(
            nn.Conv2d(channels, channels, 1, groups=groups),
            nn.Conv2d(channels, channels, 5, padding=2, groups=channels),
            nn.Conv2d(channels, channels, 1),
            SELayer(channels),
            nn.Conv2d(channels, channels, 1, groups=groups),
        )
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, gap: Tensor) -> Tensor:
        """Stage ``(B, C, H, W)`` and gap in the next, of that one's shape, to a prompt ``(B, C, H, W)``."""
        return self.factor * self.prompt(self.fuse(torch.cat([x, self.align(gap)], dim=1)))


def sinusoids(length: int, dim: int) -> Tensor:
    """Sines and cosines of positions ``(length, dim)``: arXiv 1706.03762, Sec. 3.5."""
    rates = torch.exp(torch.arange(0, dim, 2) * -(math.log(10000.0) / dim))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
