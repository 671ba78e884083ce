"""Measure the training step of configs: in turn against each other, part by part, or with a cached teacher.

    python tools/benchmark_step.py configs/tas/swin_to_r18.py configs/tas/deit_t_to_r18.py
    python tools/benchmark_step.py --pair configs/tas/swin_to_r18.py kd ofa tas tas+model.teacher_dtype=bfloat16
    python tools/benchmark_step.py --profile configs/tas/swin_to_r18.py
    python tools/benchmark_step.py --cache --pair configs/tas/swin_to_r18.py tas kd

Each round takes one step of every config on synthetic images (forward, backward, optimizer), so that other load on the
machine affects all of them. Ratios are relative to the first config: medians over the rounds, with the 10th and 90th
percentile. Multiply-adds count a whole step, including the backward pass. Their ratio would be the ratio of times if
only convolutions and matrix products took time.

With --pair the arguments are methods on that pair, as in tools/train.py --method. Options of the config follow a plus
sign. The prefix `mmrazor:` takes the step in plain MMRazor (SingleTeacherDistill).

With --profile: shares of teacher, student, assistant, losses, backward pass and optimizer. If a part's share of the
time is far above its share of the multiply-adds, something other than arithmetic takes the time.

With --cache: steps that run the teacher, and steps that read its outputs for the same images from model.teacher_cache.
Hashing and reading the images is part of the time. Loading and augmenting them is not, since both need it.
"""

import argparse
import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.logging import MMLogger

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.analysis.benchmark import cached, profile
from tas_mm.analysis.benchmark.named import named_config
from tas_mm.analysis.benchmark.step import Step, take_turns
from tas_mm.analysis.tables import Rows, markdown, table
from tas_mm.engine.launch import at_least

DEFAULTS = dict(compare=(16, 10), profile=(16, 5), cache=(8, 6))
"""Batch size and number of rounds of each mode."""


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='configs, or methods (--pair); the first is the reference')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--profile', action='store_const', dest='mode', const='profile', help='measure parts of a step')
    mode.add_argument('--cache', action='store_const', dest='mode', const='cache', help='measure a cached teacher')
    parser.add_argument('--pair', help='config of a pair, on which methods are compared')
    parser.add_argument('--batch-size', type=at_least(1), help='images in a step (default: 16; with --cache 8)')
    parser.add_argument(
        '--rounds', type=at_least(1), help='rounds that count (default: 10; with --profile 5, with --cache 6)'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--amp',
        nargs='?',
        const='float16',
        choices=['float16', 'bfloat16'],
        help='automatic mixed precision (default type: float16)',
    )
    parser.add_argument('--compile', action='store_true', help='both networks of each tas_mm.TAS through torch.compile')
    parser.add_argument('--markdown', action='store_true', help='print the tables in Markdown')
    parser.set_defaults(mode='compare')
    args = parser.parse_args()
    batch_size, rounds = DEFAULTS[args.mode]
    args.batch_size, args.rounds = args.batch_size or batch_size, args.rounds or rounds
    return args


def build_steps(args: argparse.Namespace) -> Iterator[tuple[str, Step]]:
    """Build the step of each config, with its short name."""
    for config in args.configs:
        try:
            cfg = named_config(config, args.pair)
        except (ValueError, FileNotFoundError) as error:
            raise SystemExit(f'tools/benchmark_step.py: {error}') from error
        name = re.sub(r'(.*/)?([^/+]*)\.py', r'\2', config)
        yield name, Step(cfg, args.batch_size, args.device, args.amp, args.compile)


def comparison(names: Sequence[str], steps: Sequence[Step], args: argparse.Namespace) -> Rows:
    """Measure steps in turn: time, multiply-adds, memory, parameters that train."""
    counts = [step.multiply_adds() for step in steps]
    times = take_turns(steps, args.rounds)
    memory = [np.median([step.memory() for _ in range(3)]) for step in steps]
    rows = []
    for name, step, count, taken, used in zip(names, steps, counts, times, memory):
        low, middle, high = np.percentile(np.array(taken) / np.array(times[0]), (10, 50, 90))
        rows.append(
            (
                name,
                f'{args.batch_size / np.median(taken):.2f}',
                f'{middle:.2f} ({low:.2f} to {high:.2f})',
                f'{count / counts[0]:.2f}',
                f'{used:.0f}',
                f'{used / memory[0]:.2f}',
                f'{step.trained() / 1e6:.2f} M',
            )
        )
    return rows


def main() -> None:
    """Run the tool."""
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    write = markdown if args.markdown else table
    note = ''
    if args.mode == 'profile':
        for name, step in build_steps(args):
            print(f'{name}\n{write(profile.HEADER, profile.profile_rows(step, args.rounds))}\n')
    elif args.mode == 'cache':
        print(write(cached.HEADER, [cached.cache_row(name, step, args.rounds) for name, step in build_steps(args)]))
    else:
        header = ('config', 'images/s', 'x time', 'x multiply-adds', 'peak MiB', 'x memory', 'trained')
        print(write(header, comparison(*zip(*build_steps(args)), args)))
        note = '; peak memory minus the memory in use before a step'
    print(
        f'{args.device}, batch {args.batch_size}, {args.rounds} rounds, torch {torch.__version__}, '
        f'{torch.get_num_threads()} threads{note}'
    )


if __name__ == '__main__':
    main()
