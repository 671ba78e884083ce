"""Compare the training step of two configs: time and memory, measured in turn in one process.

    python tools/benchmark_step.py configs/tas/swin_to_r18.py configs/baselines/kd_swin_to_r18.py

Each round takes one step of A and one of B on synthetic images (forward, backward, optimizer), so that whatever else
the machine does falls on both. The last line is the median over the rounds of the ratio of their times, and its 10th
and 90th percentile.
"""

import argparse
import time

import numpy as np
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from rich.progress import track

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm import inspect
from tas_mm.config import read_config
from tas_mm.measure import PeakMemory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('a', help='config A')
    parser.add_argument('b', help='config B')
    parser.add_argument('--batch-size', type=int, default=16, help='images a step (default: 16)')
    parser.add_argument('--rounds', type=int, default=10, help='rounds that count, after two that do not (default: 10)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    return parser.parse_args()


class Step:
    """A config's training step, ready to run."""

    def __init__(self, config: str, args: argparse.Namespace) -> None:
        cfg = read_config(config)
        if args.amp:
            cfg.optim_wrapper.type = 'AmpOptimWrapper'
        self.model = inspect.build_model(cfg).to(args.device).train()
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        inputs, samples = inspect.synthetic_batch(self.model, args.batch_size, inspect.pipeline_size(cfg))
        self.data = dict(inputs=inputs, data_samples=samples)
        self.device = args.device

    def seconds(self) -> float:
        """Take a step and time it."""
        self._wait()
        start = time.perf_counter()
        with self.optimizer.optim_context(self.model):
            losses = self.model(**self.data, mode='loss')
        self.optimizer.update_params(self.model.parse_losses(losses)[0])
        self._wait()
        return time.perf_counter() - start

    def memory(self) -> float:
        """Take a step and return the most memory that it needs beyond what it finds in use, in MiB."""
        peak = PeakMemory(self.device)
        peak.start()
        self.seconds()
        return peak.stop()

    def _wait(self) -> None:
        if self.device.startswith('cuda'):
            torch.cuda.synchronize()


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    steps = {'A': Step(args.a, args), 'B': Step(args.b, args)}
    times = {name: [] for name in steps}
    for number in track(range(args.rounds + 2), description='rounds'):
        for name, step in steps.items():
            seconds = step.seconds()
            if number >= 2:
                times[name].append(seconds)
    for name, config in (('A', args.a), ('B', args.b)):
        speed = args.batch_size / np.median(times[name])
        memory = np.median([steps[name].memory() for _ in range(3)])
        print(f'{name}: {config}: {speed:.2f} images per second, {memory:.0f} MiB peak beyond what rests')
    ratios = np.array(times['A']) / np.array(times['B'])
    low, middle, high = np.percentile(ratios, (10, 50, 90))
    print(
        f'{args.device}, batch {args.batch_size}, {args.rounds} rounds, torch {torch.__version__}, '
        f'{torch.get_num_threads()} threads'
    )
    print(f'ratio A/B: {middle:.2f} ({low:.2f} to {high:.2f})')


if __name__ == '__main__':
    main()
