"""Compare training steps with the teacher's forward pass and with its outputs read from disk.

    python tools/benchmark_cache.py configs/tas/swin_to_r18.py configs/baselines/kd_swin_to_r18.py

In turn in one process, so that whatever else the machine does falls on both: a step that runs the teacher, and one that
reads what `model.teacher_cache` has kept of the same images. The ratio is the median over the rounds. What it takes to
key the images and to read them is in it; loading and augmenting images is not, since both need that. The last columns
are the bytes kept of each image, and the largest difference of a loss between the two.
"""

import argparse
import tempfile

import numpy as np
import torch
from benchmark_step import Step
from mmengine.logging import MMLogger

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm import inspect
from tas_mm.models.algorithms.teacher_cache import build_cache
from tas_mm.options import at_least


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='distillations that read feature and logits alone of the teacher')
    parser.add_argument('--batch-size', type=at_least(1), default=8, help='images a step (default: 8)')
    parser.add_argument(
        '--rounds', type=at_least(1), default=6, help='rounds that count, after one that does not (default: 6)'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.set_defaults(amp=False, compile=False, pair=None)  # which Step asks for
    return parser.parse_args()


def measure(config: str, args: argparse.Namespace, folder: str) -> tuple[str, ...]:
    """Row of the table for a config."""
    step = Step(config, args)
    cache = step.model._cache = build_cache(folder, {}, step.model.distiller)
    with torch.no_grad():  # the first one keeps
        states = [(torch.manual_seed(0), step.model(**step.data, mode='loss'))[1] for _ in range(2)]
    apart = max(abs(states[0][name] - states[1][name]).item() for name in states[0])
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(args.rounds + 1):
        for cached in (False, True):
            step.model._cache = cache if cached else None
            seconds = step.seconds()
            if number:
                times[cached].append(seconds)
    low, middle, high = np.percentile(np.array(times[True]) / np.array(times[False]), (10, 50, 90))
    return (
        step.name,
        f'{1000 * np.median(times[False]):.0f}',
        f'{1000 * np.median(times[True]):.0f}',
        f'{middle:.2f} ({low:.2f} to {high:.2f})',
        str(cache.dtype.itemsize + 8),
        f'{apart:.1e}',
    )


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    header = ('config', 'ms, teacher runs', 'ms, cached', 'x time', 'bytes an image', 'losses differ by')
    rows = []
    for config in args.configs:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(config, args, folder))
    print(inspect.markdown(header, rows))
    print(f'\n{args.device}, batch {args.batch_size}, {args.rounds} rounds, torch {torch.__version__}')


if __name__ == '__main__':
    main()
