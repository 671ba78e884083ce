"""Check a pair of teacher and student before training it.

    python tools/check_pair.py timm:vit_small_patch16_224 mmpretrain:resnet18_8xb32_in1k
    python tools/check_pair.py configs/my_teacher.py timm:mobilenetv2_100 --input-size 160 --classes 100
    python tools/check_pair.py --all  # every architecture of both toolboxes, into docs/coverage.md

Prints where both networks are cut, what the assistant is made of and what it costs, then takes one step on noise. Names
are ``timm:NAME``, ``mmpretrain:NAME`` or the path of a config. Weights are random, nothing is fetched.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from coverage_sweep import sweep
from mmengine.logging import MMLogger

from tas_mm.inspect import build_classifier, build_pair, describe, synthetic_batch, table, train_step
from tas_mm.options import at_least


def check(teacher: str, student: str, input_size: list[int] | None, classes: int, batch_size: int) -> None:
    """Print everything about a pair and take a step.

    Raises:
        Exception: Whatever stands in the way.
    """
    size = None if input_size is None else (input_size[0], input_size[-1])
    algorithm = build_pair(build_classifier(teacher, classes), build_classifier(student, classes), size)
    for title, (header, rows) in describe(algorithm).items():
        print(f'{title}\n{table(header, rows)}\n')
    logs = train_step(algorithm, synthetic_batch(algorithm, batch_size))
    print('one step\n' + table(('log', 'value'), [(name, f'{value:.4g}') for name, value in logs.items()]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('teacher', nargs='?')
    parser.add_argument('student', nargs='?')
    parser.add_argument(
        '--input-size', type=int, nargs='+', help='height and width; what the networks declare, else 224'
    )
    parser.add_argument('--classes', type=at_least(2), default=10)
    parser.add_argument('--batch-size', type=at_least(1), default=2)
    parser.add_argument('--all', action='store_true', help='sweep both toolboxes; goes on where it was interrupted')
    parser.add_argument('--only', nargs='+', help='with --all: families with one of these in their name, again')
    parser.add_argument('--out', type=Path, default=Path('docs'), help='folder of coverage.md and coverage.jsonl')
    parser.add_argument('--timeout', type=float, default=300, help='with --all: seconds for one architecture')
    args = parser.parse_args()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    logging.getLogger('timm').setLevel(logging.ERROR)
    if args.all:
        sweep(args.out, args.timeout, args.only)
        return 0
    if args.student is None:
        parser.error('name a TEACHER and a STUDENT, or give --all')
    try:
        check(args.teacher, args.student, args.input_size, args.classes, args.batch_size)
    except Exception as error:
        print(f'{args.teacher} to {args.student} cannot be distilled. {type(error).__name__}: {error}', file=sys.stderr)
        return 1
    print(f'\n{args.teacher} to {args.student}: fine')
    return 0


if __name__ == '__main__':
    sys.exit(main())
