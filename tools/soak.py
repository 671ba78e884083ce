"""Train random pairs with random options for an hour, and see that nothing leaks, hangs or goes to infinity.

    python tools/soak.py --minutes 60 --seed 0

A first round draws configs until an eighth of the time is over: a teacher and a student out of MMPretrain's backbones
(tests/specimens.py) and the smaller of timm's families (docs/coverage.jsonl), and distiller options. Then that same set
is trained again, from the same seeds, round after round. The first round fills caches; the second is the measure:

- memory: what the process holds after each config, summed over the set, stays within 2 % of the second round's;
- tensors: as many are alive after a config as in the second round, and after its last step as after its second;
- every loss, gradient and predicted score is finite;
- no config takes longer than ``--timeout``, or the stacks of all threads are printed and the process ends.

Every config is a line in ``soak.jsonl``; the last line, which is printed too, sums up. Exits with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import json
import logging
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from tas_mm.inspect import build_classifier, synthetic_batch, train_step
from tas_mm.models.algorithms import TAS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.specimens import NUM_CLASSES, SPECIMENS, TEACHERS_ONLY, classifier  # noqa: E402

PARAMETERS = 8e6  # of a timm network, at most
Record = dict[str, Any]


class AutocastOptimWrapper(OptimWrapper):
    """MMEngine's own mixed precision wants a GPU; this one is bfloat16 on the CPU."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Forward pass in bfloat16 where that is safe."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield


def timm_names() -> dict[str, int]:
    """The smallest of each timm family that works in all roles -> side of its images."""
    lines = map(json.loads, (ROOT / 'docs' / 'coverage.jsonl').read_text().splitlines())
    return {line['name']: line['size'][0] for line in lines if line['source'] == 'timm' and len(line['roles']) == 4}


@cache
def is_small(name: str) -> bool:
    """Whether a network is light enough for a soak."""
    if name in SPECIMENS:
        return True
    with torch.device('meta'):
        return sum(p.numel() for p in build_classifier(name, NUM_CLASSES).parameters()) <= PARAMETERS


def draw(seed: int) -> Record:
    """A random config; the same for the same seed."""
    rng = random.Random(seed)
    sizes = {name: specimen.size for name, specimen in SPECIMENS.items()} | timm_names()

    def network_other_than(names: Sequence[str] = ()) -> str:
        mmpretrains = rng.random() < 0.6
        while True:
            name = rng.choice([n for n in sizes if (n in SPECIMENS) == mmpretrains and n not in names])
            if is_small(name):
                return name

    student, teacher = network_other_than(TEACHERS_ONLY), network_other_than()
    distiller: Record = dict(type='tas_mm.TASDistiller')
    distiller['paths'] = {path: rng.choice([0, 0.5, 1, 1, 1]) for path in ('TS', 'TA', 'AS')}
    logit_losses = [
        *[dict(type='tas_mm.OFALoss', gamma=gamma) for gamma in (1.0, 1.2, 1.5)],
        dict(type='KLDivergence', tau=4),
        dict(type='DISTLoss'),
        dict(type='DKDLoss'),
        None,
    ]
    distiller['logit_loss'] = rng.choice(logit_losses)
    distiller['feature_loss'] = rng.choice([{}, {}, dict(learnable=False), dict(temperature=0.2), None])
    early, late = rng.choice([(3, 1), (3, 1), (2, 2), (1, 3), (3, 0), (4, 0)])
    distiller['assistant'] = dict(
        early=rng.choice([None, None, 'student', 'teacher']), early_stages=early, late_stages=late
    )
    return dict(
        seed=seed,
        student=student,
        teacher=teacher,
        size=max(sizes[student], sizes[teacher]),
        batch_size=rng.choice([2, 3, 4]),
        autocast=rng.random() < 0.5,
        optimizer=rng.choice(['SGD', 'AdamW']),
        distiller=distiller,
    )


def network(name: str, size: int, seed: int) -> BaseModel:
    """A network for images of a size, as far as it can be built for it."""
    torch.manual_seed(seed)
    if name in SPECIMENS:
        return classifier(name, size)
    try:
        return build_classifier(name, NUM_CLASSES, img_size=size)
    except TypeError:
        return build_classifier(name, NUM_CLASSES)


def train(config: Record, steps: int) -> Record:
    """Train a config and predict with it.

    Returns:
        dict: The number of tensors alive after the second and after the last step.

    Raises:
        ValueError: If the pair is refused, which is no failure.
        RuntimeError: If anything is not finite.
    """
    teacher, student = (network(config[role], config['size'], config['seed']) for role in ('teacher', 'student'))
    torch.manual_seed(config['seed'])
    try:
        model = TAS(
            architecture=student, teacher=teacher, distiller=dict(config['distiller'], input_size=config['size'])
        )
    except ValueError as error:
        return dict(refused=str(error))
    optimizer = getattr(torch.optim, config['optimizer'])(
        [p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-2
    )
    wrapper = (AutocastOptimWrapper if config['autocast'] else OptimWrapper)(optimizer, clip_grad=dict(max_norm=5))
    for step in range(1, steps + 1):
        inputs, samples = synthetic_batch(model, config['batch_size'])
        train_step(model, (inputs, samples), wrapper)
        if step == 2:
            second = live_tensors()
    last = live_tensors()
    roles = ['student', 'teacher'] + (['assistant'] if model.distiller.assistant is not None else [])
    for role, predictions in model.eval().predict_roles(inputs, samples, roles).items():
        if not all(sample.pred_score.isfinite().all() for sample in predictions):
            raise RuntimeError(f'{role}: scores that are not finite')
    return dict(tensors_second_step=second, tensors_last_step=last)


def live_tensors() -> int:
    """Tensors that Python knows of."""
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def resident() -> float:
    """Memory of this process in MiB, after what is free was given back."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * 4096 / 2**20


def run(config: Record, steps: int, timeout: float) -> Record:
    """Train a config under a watchdog; what happened, and what was left behind."""
    faulthandler.dump_traceback_later(timeout, exit=True)
    begun = time.monotonic()
    try:
        result = train(config, steps)
    except Exception as error:
        result = dict(failed=f'{type(error).__name__}: {error}')
    faulthandler.cancel_dump_traceback_later()
    seconds = time.monotonic() - begun
    return dict(result, seconds=round(seconds, 2), resident=round(resident(), 2), tensors=live_tensors())


def judge(rounds: list[list[Record]], tolerance: float = 0.02) -> Record:
    """What the rounds amount to. The first is warm-up, the second what the others are compared with.

    Args:
        rounds (list): Of each round the records of its configs, in the same order; the last may be incomplete.
        tolerance (float): How far memory may rise above the second round's. Defaults to 0.02.

    Returns:
        dict: Figures, and ``failures``, one line each.
    """
    failures = [
        f'seed {record["seed"]}, {record["teacher"]} to {record["student"]}: {record["failed"]}'
        for records in rounds
        for record in records
        if 'failed' in record
    ]
    growth = []
    for number, records in enumerate(rounds[2:], 3):
        measure = rounds[1][: len(records)]
        growth.append(sum(r['resident'] for r in records) / sum(r['resident'] for r in measure) - 1)
        if growth[-1] > tolerance:
            failures.append(f'round {number}: memory is {growth[-1]:.1%} above that of round 2')
        for now, then in zip(records, measure):
            if now['tensors'] > then['tensors']:
                failures.append(f'seed {now["seed"]}: {now["tensors"]} tensors alive, in round 2 {then["tensors"]}')
    for record in (record for records in rounds[1:] for record in records):
        if record.get('tensors_last_step', 0) > record.get('tensors_second_step', 0):
            failures.append(f'seed {record["seed"]}: tensors pile up from step to step')
    return dict(
        configs=len(rounds[0]),
        rounds=len(rounds),
        trained=sum(map(len, rounds)),
        resident_first=round(rounds[1][0]['resident'], 1),
        resident_last=round(rounds[-1][-1]['resident'], 1),
        growth=[round(value, 4) for value in growth],
        failures=failures,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=60, help='how long (default: 60)')
    parser.add_argument('--seed', type=int, default=0, help='of the configs that are drawn (default: 0)')
    parser.add_argument('--configs', type=int, default=10**6, help='configs at most')
    parser.add_argument('--steps', type=int, default=4, help='training steps of each (default: 4)')
    parser.add_argument('--timeout', type=float, default=600, help='seconds that one config may take (default: 600)')
    parser.add_argument('--tolerance', type=float, default=0.02, help='growth of memory allowed (default: 0.02)')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/soak'), help='folder of soak.jsonl')
    args = parser.parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    logging.getLogger('timm').setLevel(logging.ERROR)
    args.out.mkdir(parents=True, exist_ok=True)
    log = (args.out / 'soak.jsonl').open('w')
    began = time.monotonic()
    left = lambda: began + args.minutes * 60 - time.monotonic()  # noqa: E731
    configs: list[Record] = []
    rounds: list[list[Record]] = []
    refused = 0

    def take(config: Record, where: str) -> Record:
        name = f'{config["teacher"]} to {config["student"]}'
        print(f'[{where}, {max(left(), 0) / 60:.0f} min left] seed {config["seed"]}, {name}', end=' ', flush=True)
        record = dict(config, round=len(rounds), **run(config, args.steps, args.timeout))
        outcome = 'FAILED' if 'failed' in record else 'refused' if 'refused' in record else 'ok'
        print(f'{outcome} ({record["seconds"]:.1f} s, {record["resident"]:.0f} MiB)', flush=True)
        log.write(json.dumps(record) + '\n')
        log.flush()
        return record

    rounds.append([])
    seed = args.seed * 10**6
    while len(configs) < args.configs and left() > args.minutes * 60 * 7 / 8 or not configs:
        record = take(config := draw(seed), 'drawing')
        seed += 1
        if 'refused' in record:
            refused += 1
            continue
        configs.append(config)
        rounds[0].append(record)
    while len(rounds) < 3 or left() > 0:
        rounds.append([])
        for i, config in enumerate(configs):
            if len(rounds) > 3 and left() <= 0:
                break
            rounds[-1].append(take(config, f'round {len(rounds)}, {i + 1}/{len(configs)}'))
    rounds = [records for records in rounds if records]
    summary = dict(
        minutes=round((time.monotonic() - began) / 60, 1),
        seed=args.seed,
        steps=args.steps,
        refused=refused,
        **judge(rounds, args.tolerance),
    )
    log.write(json.dumps(summary) + '\n')
    print(json.dumps(summary))
    return 1 if summary['failures'] else 0


if __name__ == '__main__':
    sys.exit(main())
