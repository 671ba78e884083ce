"""Convolutional stem for patch embeddings, without which small transformers on small images stay weak.

Source: Xiao et al., Early Convolutions Help Transformers See Better, arXiv 2106.14881.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from tas_mm.registry import MODELS


@MODELS.register_module()
class ConvStem(nn.Sequential):
    """Stack of 3x3 convolutions of stride 2, for ``patch_cfg=dict(conv_type='tas_mm.ConvStem')``.

    Args:
        in_channels (int): Channels of the image.
        out_channels (int): Width of the tokens. Each earlier convolution has half the width of the next.
        stride (int | tuple): Side of a square patch, a power of 2.
        **kwargs: Ignored: other arguments of a patch embedding's convolution. The kernels are always 3x3.

    Raises:
        ValueError: If ``stride`` is not a power of 2.

    Examples:
        >>> import torch
        >>> from tas_mm.models.backbones import ConvStem
        >>> ConvStem(3, 64, stride=4)(torch.zeros(1, 3, 28, 28)).shape
        torch.Size([1, 64, 7, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int | tuple[int, int], **kwargs: Any) -> None:
        side = stride if isinstance(stride, int) else stride[0]
        depth = int(math.log2(side))
        if side < 2 or 2**depth != side:
            raise ValueError(f'ConvStem: stride={stride}. Expected a power of 2')
        layers: list[nn.Module] = []
        for i in reversed(range(depth)):
            width = out_channels // 2**i
            layers.append(nn.Conv2d(in_channels, width, 3, stride=2, padding=1, bias=i == 0))
            if i:
                layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            in_channels = width
        super().__init__(*layers)
