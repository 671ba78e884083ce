"""Compile a network that carries observers with ``torch.compile``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn


def compile_network(network: nn.Module, options: dict[str, Any]) -> None:
    """Compile a network when it is first called, with the hooks that it has by then.

    Args:
        network (nn.Module): The network, changed in place. The names of its weights stay the same.
        options (dict): Options of ``torch.compile``.

    Examples:
        >>> import torch
        >>> from tas_mm.models.compiling import compile_network
        >>> network = torch.nn.Linear(3, 2)
        >>> compile_network(network, dict(backend='eager'))
        >>> network(torch.zeros(1, 3)).shape
        torch.Size([1, 2])
    """
    # Without this, a network could run code compiled for another instance of its class, without its own observers.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    for module in network.modules():
        # MMPretrain takes these rates from numpy. Dynamo treats numpy scalars as data: a graph break in every block.
        if isinstance(getattr(module, 'drop_prob', None), np.floating):
            module.drop_prob = float(module.drop_prob)
    network.compile(**options)
