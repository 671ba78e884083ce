"""Where the time of a training step goes: teacher, student, assistant, losses, backward pass, optimizer.

    python tools/profile_step.py configs/tas/swin_to_r18.py

Medians over the rounds, on synthetic images, beside the multiply-adds of convolutions and matrix products. Where a
part's share of the time is far above its share of the multiply-adds, something else than arithmetic costs.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from benchmark_step import Step
from mmengine.logging import MMLogger

from tas_mm import inspect
from tas_mm.options import at_least

PARTS = ('teacher forward', 'student forward', 'assistant forward', 'losses and the rest', 'backward', 'optimizer')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--batch-size', type=at_least(1), default=16, help='images a step (default: 16)')
    parser.add_argument(
        '--rounds', type=at_least(1), default=5, help='rounds that count, after two that do not (default: 5)'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--markdown', action='store_true', help='print the table in Markdown')
    parser.set_defaults(compile=False, pair=None)  # which Step asks for
    return parser.parse_args()


@contextmanager
def metered(
    owner: Any, method: str, part: str, amounts: dict[str, float], meter: Callable[[], float]
) -> Iterator[None]:
    """Add what ``meter`` advances in each call of a method to ``amounts[part]``."""
    original = getattr(owner, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        start = meter()
        result = original(*args, **kwargs)
        amounts[part] += meter() - start
        return result

    owner.__dict__[method] = call
    try:
        yield
    finally:
        del owner.__dict__[method]


def step(subject: Step, meter: Callable[[], float]) -> dict[str, float]:
    """Take a step and say what each part of it took."""
    model, optimizer = subject.model, subject.optimizer
    assistant = getattr(model.distiller, 'assistant', None)
    amounts = dict.fromkeys(PARTS, 0.0)
    with (
        metered(model, 'run_teacher', 'teacher forward', amounts, meter),
        metered(model.student, 'forward', 'student forward', amounts, meter),
        metered(assistant, 'forward', 'assistant forward', amounts, meter) if assistant is not None else nullcontext(),
        metered(optimizer, 'backward', 'backward', amounts, meter),
        metered(optimizer, 'step', 'optimizer', amounts, meter),
    ):
        start = meter()
        subject.take()
        amounts['losses and the rest'] = meter() - start - sum(amounts.values())
    return amounts


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    subject = Step(args.config, args)

    def seconds() -> float:
        if args.device.startswith('cuda'):
            torch.cuda.synchronize()
        return time.perf_counter()

    rounds = [step(subject, seconds) for _ in range(args.rounds + 2)][2:]
    times = {part: np.median([amounts[part] for amounts in rounds]) for part in PARTS}
    with inspect.counting() as counter:
        counts = step(subject, counter.get_total_flops)
    rows = [
        (
            part,
            f'{times[part] * 1e3:.1f}',
            f'{times[part] / sum(times.values()):.1%}',
            f'{counts[part] / sum(counts.values()):.1%}',
        )
        for part in PARTS
        if times[part]  # no assistant, no time
    ]
    rows.append(('step', f'{sum(times.values()) * 1e3:.1f}', '100%', f'{sum(counts.values()) / 2e9:.2f} G'))
    print((inspect.markdown if args.markdown else inspect.table)(('part', 'ms', 'time', 'multiply-adds'), rows))
    print(f'{args.config}: {args.device}, batch {args.batch_size}, torch {torch.__version__}')


if __name__ == '__main__':
    main()
