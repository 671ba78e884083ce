"""Cross-attention projector: a grid of learned queries attends to the map of another network.

Source: ScaleKD, NeurIPS 2024, arXiv 2411.06786, whose loss uses it for the student's stages 3 and 4.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn

from tas_mm.registry import MODELS

from ..utils import Grid
from .projectors import GridProjector


@MODELS.register_module()
class CrossAttentionProjector(GridProjector):
    """Projector made of a 3x3 convolution with positions, one cross-attention, and a feed-forward layer.

    There is one query for each position of the output. Queries are learned, or passed to :meth:`forward`. There is no
    residual connection around the attention: the output contains only the input's values, and the queries only select
    where they go.

    Args:
        in_channels (int): Width of the early part's output.
        out_channels (int): Width that the late part expects.
        in_grid (tuple): Height and width of the early part's output.
        out_grid (tuple): Height and width that the late part expects.
        num_heads (int, optional): Heads of the attention. Defaults to None: heads of width 64.
        softmax_scale (float): Factor on the products of queries and keys. Defaults to 5.0, as in the authors' code.
        ffn_ratio (float): Width of the feed-forward layer divided by that of the attention. Defaults to 4.
        width_ratio (float): Width of the attention divided by ``out_channels``. If it is not 1, a linear layer follows.
            The number of parameters grows with its square. Defaults to 1, as in the authors' code.
        norm (str): Norm after the convolution. The authors use ``'LN2d'`` for ConvNeXt students. Defaults to ``'BN'``.
        own_queries (bool): Whether queries are learned. If False, pass them to :meth:`forward`. Defaults to True.
        any_size (bool): Must be False, since positions and queries belong to one grid. Defaults to False.

    Raises:
        ValueError: If ``any_size`` is True, if ``width_ratio`` or ``ffn_ratio`` is not positive, or if ``num_heads``
            does not divide the width.

    Examples:
        >>> import torch
        >>> from tas_mm.models import CrossAttentionProjector
        >>> projector = CrossAttentionProjector(32, 64, in_grid=(14, 14), out_grid=(7, 7))
        >>> projector(torch.zeros(1, 32, 14, 14)).shape
        torch.Size([1, 64, 7, 7])
        >>> projector(torch.zeros(1, 32, 14, 14), torch.zeros(1, 64, 7, 7)).shape
        torch.Size([1, 64, 7, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_grid: Grid,
        out_grid: Grid,
        num_heads: int | None = None,
        softmax_scale: float = 5.0,
        ffn_ratio: float = 4.0,
        width_ratio: float = 1.0,
        norm: str = 'BN',
        own_queries: bool = True,
        any_size: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, in_grid, out_grid, any_size)
        if any_size:
            raise ValueError(
                'CrossAttentionProjector: any_size=True, but its positions belong to one grid. Use another projector'
            )
        if not min(width_ratio, ffn_ratio) > 0:
            raise ValueError(f'CrossAttentionProjector: {width_ratio=}, {ffn_ratio=}. Expected positive numbers')
        width = max(1, round(width_ratio * out_channels))
        heads = num_heads or max(1, width // 64)
        while num_heads is None and width % heads:
            heads -= 1
        if heads < 1 or width % heads:
            raise ValueError(f'CrossAttentionProjector: num_heads={num_heads}. Expected a divisor of the width {width}')
        self.heads, self.scale = heads, softmax_scale / math.sqrt(width // heads)
        self.conv = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.norm = build_norm_layer(dict(type=norm), in_channels)
        self.pos_embed = nn.Parameter(torch.zeros(1, in_channels, *in_grid))
        trunc_normal_(self.pos_embed, std=0.02)
        self.queries = nn.Parameter(torch.randn(1, out_channels, *out_grid)) if own_queries else None
        self.embed_queries = nn.Conv2d(out_channels, width, 1)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(in_channels, width)
        self.to_v = nn.Linear(in_channels, width)
        self.out = nn.Linear(width, width)
        self.out_norm = nn.LayerNorm(width)
        self.ffn = FFN(width, round(ffn_ratio * width))
        self.expand = nn.Identity() if width == out_channels else nn.Linear(width, out_channels)

    def forward(self, x: Tensor, queries: Tensor | None = None) -> Tensor:
        """Project ``(B, in_channels, *in_grid)`` to ``(B, out_channels, *out_grid)``.

        Args:
            x (Tensor): Map from the early part.
            queries (Tensor, optional): Map ``(B, out_channels, *out_grid)`` to use as queries. Defaults to None: the
                learned ones.
        """
        queries = self.queries.expand(len(x), -1, -1, -1) if queries is None else queries
        seen = tokens(F.relu(self.norm(self.conv(x))) + self.pos_embed)
        q, k, v = self.to_q(tokens(F.relu(self.embed_queries(queries)))), self.to_k(seen), self.to_v(seen)
        q, k, v = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))  # B x heads x N x width
        attended = F.scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2).flatten(2)
        y = self.expand(self.ffn(self.out_norm(self.out(attended))))  # FFN adds its input to its output
        return y.transpose(1, 2).unflatten(2, self.out_grid)


def tokens(x: Tensor) -> Tensor:
    """Turn a map ``(B, C, H, W)`` into tokens ``(B, H * W, C)``."""
    return x.flatten(2).transpose(1, 2)
