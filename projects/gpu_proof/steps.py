"""Parts about a single step: time and memory of methods in turn, and graph breaks of the compiled step."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._dynamo.output_graph import GraphCompileReason
from torch._dynamo.utils import counters, graph_break_reasons

from tas_mm.analysis.benchmark.step import Step, take_turns

from .setup import METHODS, PLAIN_KD, Setup, set_precision

Rows = list[dict[str, Any]]


def step_rows(setup: Setup, pair: str, precision: str, compiled: bool, batch_size: int) -> Rows:
    """Time steps of all methods in turn on synthetic images.

    KD in plain MMRazor runs as it ships, never compiled.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair.
        precision (str): ``'float32'`` (TF32 on a GPU), ``'bfloat16'`` or ``'float16'``.
        compiled (bool): Whether ``torch.compile`` compiles the networks.
        batch_size (int): Images in a step.
    """
    set_precision(tf32=True)
    steps, rests = [], []
    for method in METHODS:
        before = _allocated(setup)
        steps.append(_step(setup, pair, method, precision, setup.compile if compiled else False, batch_size))
        steps[-1].take()
        rests.append(_allocated(setup) - before)
    times = take_turns(steps, setup.rounds)
    memory = [float(np.median([step.memory() for _ in range(3)])) for step in steps]
    kd = METHODS.index('kd')
    rows = []
    for method, taken, peak, rest in zip(METHODS, times, memory, rests):
        row = dict(method=method, images_per_second=batch_size / np.median(taken), ms=1e3 * np.median(taken))
        row.update(x_kd=_ratio(taken, times[kd]), x_plain_kd=_ratio(taken, times[METHODS.index(PLAIN_KD)]))
        row.update(step_mib=peak, rest_mib=rest, x_kd_memory=(peak + rest) / (memory[kd] + rests[kd]))
        rows.append(row)
    return rows


def _step(setup: Setup, pair: str, method: str, precision: str, compile: bool | dict, batch_size: int) -> Step:
    torch.manual_seed(0)
    amp = None if precision == 'float32' else precision
    return Step(setup.config(pair, method), batch_size, setup.device, amp, compile)


def _ratio(taken: list[float], reference: list[float]) -> str:
    """Return the median ratio, with the 10th and 90th percentile."""
    low, middle, high = np.percentile(np.array(taken) / np.array(reference), (10, 50, 90))
    return f'{middle:.2f} ({low:.2f} to {high:.2f})'


def _allocated(setup: Setup) -> float:
    """Return the memory in use on the GPU in MiB; 0 on the CPU, which does not keep count."""
    gc.collect()
    return torch.cuda.memory_allocated() / 2**20 if setup.device == 'cuda' else 0.0


def graph_rows(setup: Setup, pair: str) -> Rows:
    """Count and list the graph breaks of compiled steps, and what compiles again after the first step.

    Dynamo alone decides both, so that the backend is ``'eager'``.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair.
    """
    rows = []
    for method in METHODS[1:]:
        torch._dynamo.reset()
        counters.clear()
        graph_break_reasons.clear()
        step = _step(setup, pair, method, 'float32', dict(backend='eager'), 4)
        step.take()
        graphs, breaks = counters['stats']['unique_graphs'], Counter(map(_shown, graph_break_reasons))
        for _ in range(2):
            step.take()
        row = dict(method=method, graphs=graphs, breaks=breaks.total())
        row['graphs_later'] = counters['stats']['unique_graphs'] - graphs
        row['reasons'] = '; '.join(f'{number} x {reason}' for reason, number in breaks.items())
        rows.append(row)
    return rows


def _shown(why: GraphCompileReason) -> str:
    """Return the first line of a reason, and where the code is."""
    places = [f' ({Path(frame.filename).name}:{frame.lineno}, {frame.name})' for frame in why.user_stack[-1:]]
    return why.reason.splitlines()[0] + ''.join(places)
