"""Compare the training step of configs: time, memory and multiply-adds, measured in turn in one process.

    python tools/benchmark_step.py configs/baselines/kd_swin_to_r18.py configs/tas/swin_to_r18.py

Each round takes one step of every config on synthetic images (forward, backward, optimizer), so that whatever else the
machine does falls on all. Ratios are to the first config, medians over the rounds, with the 10th and 90th percentile.
Multiply-adds are those of a whole step, backward pass included: their ratio is what the ratio of times would be if
nothing but convolutions and matrix products cost time.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from rich.progress import track

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm import inspect
from tas_mm.config import read_config
from tas_mm.measure import PeakMemory
from tas_mm.options import at_least


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='configs; the first is what the others are compared with')
    parser.add_argument('--batch-size', type=at_least(1), default=16, help='images a step (default: 16)')
    parser.add_argument(
        '--rounds', type=at_least(1), default=10, help='rounds that count, after two that do not (default: 10)'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--markdown', action='store_true', help='print the table in Markdown')
    return parser.parse_args()


class Step:
    """A config's training step, ready to run."""

    def __init__(self, config: str, args: argparse.Namespace) -> None:
        cfg = read_config(config)
        if args.amp:
            cfg.optim_wrapper.type = 'AmpOptimWrapper'
        self.name = Path(config).stem
        self.model = inspect.build_model(cfg).to(args.device).train()
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        inputs, samples = inspect.synthetic_batch(self.model, args.batch_size, inspect.pipeline_size(cfg))
        self.data = dict(inputs=inputs, data_samples=samples)
        self.device = args.device
        self.times: list[float] = []

    def take(self) -> None:
        """Take a step."""
        with self.optimizer.optim_context(self.model):
            losses = self.model(**self.data, mode='loss')
        self.optimizer.update_params(self.model.parse_losses(losses)[0])

    def seconds(self) -> float:
        """Take a step and time it."""
        self._wait()
        start = time.perf_counter()
        self.take()
        self._wait()
        return time.perf_counter() - start

    def memory(self) -> float:
        """Take a step and return the most memory that it needs beyond what it finds in use, in MiB."""
        peak = PeakMemory(self.device)
        peak.start()
        self.seconds()
        return peak.stop()

    def multiply_adds(self) -> float:
        """Take a step and count those of convolutions and matrix products, forward and backward."""
        with inspect.counting() as counter:
            self.take()
        return counter.get_total_flops() / 2

    def trained(self) -> int:
        """Parameters that train."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def _wait(self) -> None:
        if self.device.startswith('cuda'):
            torch.cuda.synchronize()


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    steps = [Step(config, args) for config in args.configs]
    counts = [step.multiply_adds() for step in steps]
    for number in track(range(args.rounds + 2), description='rounds'):
        for step in steps:
            seconds = step.seconds()
            if number >= 2:
                step.times.append(seconds)
    memory = [np.median([step.memory() for _ in range(3)]) for step in steps]
    rows = []
    for step, count, used in zip(steps, counts, memory):
        low, middle, high = np.percentile(np.array(step.times) / np.array(steps[0].times), (10, 50, 90))
        rows.append(
            (
                step.name,
                f'{args.batch_size / np.median(step.times):.2f}',
                f'{middle:.2f} ({low:.2f} to {high:.2f})',
                f'{count / counts[0]:.2f}',
                f'{used:.0f}',
                f'{used / memory[0]:.2f}',
                f'{step.trained() / 1e6:.2f} M',
            )
        )
    header = ('config', 'images/s', 'x time', 'x multiply-adds', 'peak MiB', 'x memory', 'trained')
    print((inspect.markdown if args.markdown else inspect.table)(header, rows))
    print(
        f'{args.device}, batch {args.batch_size}, {args.rounds} rounds, torch {torch.__version__}, '
        f'{torch.get_num_threads()} threads; peak memory beyond what rests'
    )


if __name__ == '__main__':
    main()
