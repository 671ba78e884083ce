"""Train random pairs with random options for an hour, and check that nothing leaks, hangs or becomes infinite.

    python -m tests.soak --minutes 60 --seed 0

The first round draws configs until an eighth of the time is over: a teacher and a student from MMPretrain's backbones
and the smaller families of timm (docs/coverage.jsonl), and distiller options. Later rounds train
the same set again, from the same seeds. The first round fills caches. The second is the reference:

- memory: what the process holds after each config, summed over the set, stays within 2 % of the second round's;
- tensors: as many are alive after a config as in the second round, and after its last step as after its second;
- every loss, gradient and predicted score is finite;
- no config takes longer than ``--timeout``, or the stacks of all threads are printed and the process ends.

Every config is a line in ``soak.jsonl``; the last line, which is also printed, is the summary. Exits with 1 on failure.
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

from tas_mm.analysis.trial import synthetic_batch, train_step
from tas_mm.models import TAS
from tas_mm.recipes.sources import build_classifier
from tests.specimens import NUM_CLASSES, SPECIMENS, TEACHERS_ONLY, classifier

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 8e6  # of a timm network, at most
Record = dict[str, Any]


class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16 on the CPU; MMEngine's own needs a GPU."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in bfloat16 where that is safe."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield


def timm_names() -> dict[str, int]:
    """Return the smallest network of each timm family that works in all roles, with the side of its images."""
    lines = map(json.loads, (ROOT / 'docs' / 'coverage.jsonl').read_text().splitlines())
    return {line['name']: line['size'][0] for line in lines if line['source'] == 'timm' and len(line['roles']) == 4}


@cache
def is_small(name: str) -> bool:
    """Tell whether a network is light enough for a soak."""
    if name in SPECIMENS:
        return True
    with torch.device('meta'):
        return sum(p.numel() for p in build_classifier(name, NUM_CLASSES).parameters()) <= PARAMETERS


def draw(seed: int) -> Record:
    """Draw a random config, the same for the same seed."""
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
    """Build a network for images of a size, or of its own size if it cannot be changed."""
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
        dict: Number of tensors alive after the second and after the last step; or why the pair was rejected, which is
        not a failure.

    Raises:
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
    """Count the tensors that Python knows."""
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def resident() -> float:
    """Measure the memory of this process in MiB, after free memory was returned."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * 4096 / 2**20


def run(config: Record, steps: int, timeout: float) -> Record:
    """Train a config under a watchdog, and return what happened and what was left behind."""
    faulthandler.dump_traceback_later(timeout, exit=True)
    begun = time.monotonic()
    try:
        result = train(config, steps)
    except Exception as error:
        result = dict(failed=f'{type(error).__name__}: {error}')
    faulthandler.cancel_dump_traceback_later()
    seconds = time.monotonic() - begun
    return dict(result, seconds=round(seconds, 2), resident=round(resident(), 2), tensors=live_tensors())


def growth_of(records: list[Record], reference: list[Record]) -> float:
    """Compute by how much memory has grown over the same configs of a reference round."""
    measure = reference[: len(records)]
    return sum(r['resident'] for r in records) / sum(r['resident'] for r in measure) - 1


def leaks(records: list[Record], reference: list[Record]) -> list[str]:
    """Name the configs of a round after which, or within which, tensors were left over."""
    found = []
    for now, then in zip(records, reference):
        if now['tensors'] > then['tensors']:
            found.append(f'seed {now["seed"]}: {now["tensors"]} tensors alive, in round 2 {then["tensors"]}')
        if now.get('tensors_last_step', 0) > now.get('tensors_second_step', 0):
            found.append(f'seed {now["seed"]}: tensors pile up from step to step')
    return found


def judge(rounds: list[list[Record]], tolerance: float = 0.02) -> Record:
    """Sum up the rounds. The first is warm-up, the second the reference for the others.

    Args:
        rounds (list): For each round the records of its configs, in the same order; the last may be incomplete.
        tolerance (float): Allowed growth of memory over the second round's. Defaults to 0.02.

    Returns:
        dict: Figures, and ``failures``, one line each.
    """
    growth = [growth_of(records, rounds[1]) for records in rounds[2:]]
    failures = [
        f'seed {record["seed"]}, {record["teacher"]} to {record["student"]}: {record["failed"]}'
        for records in rounds
        for record in records
        if 'failed' in record
    ]
    for number, value in enumerate(growth, 3):
        if value > tolerance:
            failures.append(f'round {number}: memory is {value:.1%} above that of round 2')
    for records in rounds[1:]:
        failures += leaks(records, rounds[1])
    return dict(
        configs=len(rounds[0]),
        rounds=len(rounds),
        trained=sum(map(len, rounds)),
        resident_first=round(rounds[1][0]['resident'], 1),
        resident_last=round(rounds[-1][-1]['resident'], 1),
        growth=[round(value, 4) for value in growth],
        failures=failures,
    )


class Soak:
    """An hour of rounds, with a log.

    Args:
        args (argparse.Namespace): Options of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.began = time.monotonic()
        self.configs: list[Record] = []
        self.rounds: list[list[Record]] = [[]]
        self.refused = 0
        args.out.mkdir(parents=True, exist_ok=True)
        self.log = (args.out / 'soak.jsonl').open('w')

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.began + self.args.minutes * 60 - time.monotonic()

    def run(self) -> Record:
        """Draw configs, repeat them, and return the summary."""
        self.draw_configs()
        while len(self.rounds) < 3 or self.left > 0:
            self.repeat()
        minutes = round((time.monotonic() - self.began) / 60, 1)
        verdict = judge([records for records in self.rounds if records], self.args.tolerance)
        summary = dict(minutes=minutes, seed=self.args.seed, steps=self.args.steps, refused=self.refused, **verdict)
        self.log.write(json.dumps(summary) + '\n')
        return summary

    def draw_configs(self) -> None:
        """Train configs from new seeds for an eighth of the time; keep those that do not raise."""
        seed, end = self.args.seed * 10**6, self.args.minutes * 60 * 7 / 8
        while len(self.configs) < self.args.configs and self.left > end or not self.configs:
            record = self.take(config := draw(seed), 'drawing')
            seed += 1
            if 'refused' in record:
                self.refused += 1
                continue
            self.configs.append(config)
            self.rounds[0].append(record)

    def repeat(self) -> None:
        """Train all configs once more; after the third round, until the time is over."""
        self.rounds.append([])
        for i, config in enumerate(self.configs):
            if len(self.rounds) > 3 and self.left <= 0:
                break
            self.rounds[-1].append(self.take(config, f'round {len(self.rounds)}, {i + 1}/{len(self.configs)}'))

    def take(self, config: Record, where: str) -> Record:
        """Train one config, print and log what happened."""
        name = f'{config["teacher"]} to {config["student"]}'
        print(f'[{where}, {max(self.left, 0) / 60:.0f} min left] seed {config["seed"]}, {name}', end=' ', flush=True)
        record = dict(config, round=len(self.rounds), **run(config, self.args.steps, self.args.timeout))
        outcome = 'FAILED' if 'failed' in record else 'refused' if 'refused' in record else 'ok'
        print(f'{outcome} ({record["seconds"]:.1f} s, {record["resident"]:.0f} MiB)', flush=True)
        self.log.write(json.dumps(record) + '\n')
        self.log.flush()
        return record


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=60, help='how long (default: 60)')
    parser.add_argument('--seed', type=int, default=0, help='of the configs that are drawn (default: 0)')
    parser.add_argument('--configs', type=int, default=10**6, help='configs at most')
    parser.add_argument('--steps', type=int, default=4, help='training steps of each (default: 4)')
    parser.add_argument('--timeout', type=float, default=600, help='seconds that one config may take (default: 600)')
    parser.add_argument('--tolerance', type=float, default=0.02, help='allowed growth of memory (default: 0.02)')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/soak'), help='folder of soak.jsonl')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    logging.getLogger('timm').setLevel(logging.ERROR)
    summary = Soak(args).run()
    print(json.dumps(summary))
    return 1 if summary['failures'] else 0


if __name__ == '__main__':
    sys.exit(main())
