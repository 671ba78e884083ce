"""Networks that are compiled: each runs its own hooks, and rates from numpy break no graph."""

import numpy as np
import pytest
import torch
from mmcv.cnn.bricks import DropPath
from torch import nn
from torch._dynamo.utils import counters

from tas_mm.models.compiling import compile_network


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch._dynamo.reset()
    counters.clear()


class Net(nn.Module):
    """A network of two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    def forward(self, x):
        return self.second(self.first(x))


def test_a_network_runs_its_own_hooks_whatever_was_compiled_before():
    """Such as a student after a student of the same kind, in another distillation of the same process."""
    seen = []
    plain, watched = Net(), Net()
    watched.second.register_forward_hook(lambda module, args, output: seen.append(output))
    for network in (plain, watched):
        compile_network(network, dict(backend='eager'))
        network(torch.ones(2, 3))
    assert len(seen) == 1


def test_droppath_with_a_rate_from_numpy_breaks_no_graph():
    """As every rate of MMPretrain's backbones, which come from ``np.linspace``."""
    network = nn.Sequential(nn.Linear(3, 3), DropPath(np.linspace(0, 0.5, 3)[1])).train()
    compile_network(network, dict(backend='eager'))
    network(torch.ones(2, 3))
    assert counters['stats']['unique_graphs'] == 1
    assert counters['graph_break'] == {}
