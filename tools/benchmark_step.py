"""Compare the training step of configs: time, memory and multiply-adds, measured in turn in one process.

    python tools/benchmark_step.py configs/baselines/kd_swin_to_r18.py configs/tas/swin_to_r18.py
    python tools/benchmark_step.py --pair configs/tas/swin_to_r18.py kd ofa tas tas+model.teacher_dtype=bfloat16

Each round takes one step of every config on synthetic images (forward, backward, optimizer), so that whatever else the
machine does falls on all. Ratios are to the first config, medians over the rounds, with the 10th and 90th percentile.
Multiply-adds are those of a whole step, backward pass included: their ratio is what the ratio of times would be if
nothing but convolutions and matrix products cost time.

With --pair what is compared are methods on that pair: distillers of configs/_base_/distillers by name. Behind a plus
sign stands an option of the config; `mmrazor:` in front takes the step as plain MMRazor does (SingleTeacherDistill).
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from rich.progress import track

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm import benchmark, inspect
from tas_mm.config import named_model, read_config
from tas_mm.measure import PeakMemory
from tas_mm.models.algorithms.teacher import teacher_config
from tas_mm.options import at_least

PLAIN = 'mmrazor:'
METHODS = {path.stem: str(path) for path in sorted(Path(__file__).parents[1].glob('configs/_base_/distillers/*.py'))}
METHODS['tas'] = dict(type='tas_mm.TASDistiller')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'configs', nargs='+', help='configs, or methods (--pair); the first is what the others are compared with'
    )
    parser.add_argument('--pair', help='config of a pair, on which methods are compared')
    parser.add_argument('--batch-size', type=at_least(1), default=16, help='images a step (default: 16)')
    parser.add_argument(
        '--rounds', type=at_least(1), default=10, help='rounds that count, after two that do not (default: 10)'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--compile', action='store_true', help='both networks of each tas_mm.TAS through torch.compile')
    parser.add_argument('--markdown', action='store_true', help='print the table in Markdown')
    return parser.parse_args()


def config_of(text: str, pair: str | None) -> Config:
    """The config that is meant by ``'CONFIG+KEY=VALUE'``, or on a pair by ``'METHOD+KEY=VALUE'``.

    Raises:
        SystemExit: If there is no such method, or an option is none.
    """
    name, *options = text.removeprefix(PLAIN).split('+')
    cfg = read_config(pair or name)
    if pair:
        if name not in METHODS:
            raise SystemExit(f'{text}: no method is called {name!r}; valid are {", ".join(METHODS)}')
        benchmark.put_distiller(cfg, METHODS[name])
    for option in options:
        key, equals, value = option.partition('=')
        if not equals:
            raise SystemExit(f'{text}: {option!r} is no option; valid is KEY=VALUE')
        cfg.merge_from_dict({key: yaml.safe_load(value)})
    return cfg


def as_plain_mmrazor(cfg: Config) -> Config:
    """The same networks, recorders and losses in MMRazor's own algorithm and distiller."""
    explicit = inspect.build_model(cfg).distiller.config
    student, teacher = (named_model(teacher_config(cfg.model[role])) for role in ('architecture', 'teacher'))
    model = dict(
        type='SingleTeacherDistill',
        _scope_='mmrazor',
        architecture=dict(student, _scope_='mmpretrain'),
        teacher=dict(teacher, _scope_='mmpretrain'),
        distiller=dict(type='ConfigurableDistiller', **explicit),
        data_preprocessor={'type': 'mmpretrain.ClsDataPreprocessor', **cfg.get('data_preprocessor', {})},
    )
    return Config(dict(cfg, model=model))


class Step:
    """A config's training step, ready to run."""

    def __init__(self, config: str, args: argparse.Namespace) -> None:
        cfg = config_of(config, args.pair)
        if args.amp:
            cfg.optim_wrapper.type = 'AmpOptimWrapper'
        if config.startswith(PLAIN):
            cfg = as_plain_mmrazor(cfg)
        elif args.compile:
            cfg.model.compile = True
        self.name = re.sub(r'(.*/)?([^/+]*)\.py', r'\2', config)
        self.model = inspect.build_model(cfg).to(args.device)
        self.model.train()  # of which MMRazor's returns nothing
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
