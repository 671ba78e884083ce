"""Check configs before anything is downloaded or trained.

    python tools/check_config.py configs/tas/swin_to_r18.py [CONFIG ...]

Builds the model of each config without data, weights or network, prints teacher, student and assistant (where they are
cut, parameters, multiply-adds, what trains), the recorders and losses that the distiller worked out, and takes one
training step on synthetic images of the config's real size: forward, backward, optimizer. Exits with 1 if any fails.
"""

import argparse
import sys

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm import inspect
from tas_mm.config import read_config
from tas_mm.models import TAS
from tas_mm.options import at_least


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='config files, or names of shipped ones (tas_mm::tas/...)')
    parser.add_argument('--batch-size', type=at_least(1), default=2, help='images in the synthetic batch (default: 2)')
    parser.add_argument('--explicit', action='store_true', help="print the distiller in MMRazor's explicit form")
    return parser.parse_args()


def recorder_rows(algorithm: TAS) -> inspect.Rows:
    """Side, name and source of every recorder."""
    config = algorithm.distiller.config
    return [
        (side, name, recorder['type'], recorder['source'])
        for side in ('student', 'teacher')
        for name, recorder in config[f'{side}_recorders'].items()
    ]


def loss_rows(algorithm: TAS, losses: dict[str, float]) -> inspect.Rows:
    """Name, type, weight and first value of every loss."""
    modules = dict(algorithm.distiller.distill_losses.items())
    rows = []
    for name, value in losses.items():
        module = modules.get(name.removeprefix('distill.'))
        kind = type(module).__name__ if module is not None else ''
        weight = f'{module.loss_weight:g}' if hasattr(module, 'loss_weight') else ''
        rows.append((name, kind, weight, f'{value:.4f}'))
    return rows


def check(name: str, batch_size: int, explicit: bool) -> None:
    """Check one config; raises what is wrong with it."""
    cfg = read_config(name)
    model = inspect.build_model(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    size = inspect.pipeline_size(cfg)
    distilling = isinstance(model, TAS)
    if hasattr(getattr(model, 'distiller', None), 'teacher_view'):  # of one teacher, and by a distiller of tas_mm
        for title, (header, rows) in inspect.describe(model).items():
            sys.stdout.write(f'{title}\n{inspect.table(header, rows)}\n')
        header = ('side', 'recorder', 'type', 'source')
        sys.stdout.write(f'recorders\n{inspect.table(header, recorder_rows(model))}\n')
        if explicit:
            kind = f'tas_mm.{type(model.distiller).__name__}'
            sys.stdout.write(Config(dict(distiller=dict(type=kind, **model.distiller.config))).pretty_text)
    losses = inspect.train_step(model, inspect.synthetic_batch(model, batch_size, size), optimizer, strict=True)
    rows = loss_rows(model, losses) if distilling else [(k, '', '', f'{v:.4f}') for k, v in losses.items()]
    sys.stdout.write(f'one step\n{inspect.table(("loss", "type", "weight", "value"), rows)}\n')


def main() -> int:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    failed = []
    for i, name in enumerate(args.configs, 1):
        sys.stdout.write(f'[{i}/{len(args.configs)}] {name}\n')
        try:
            check(name, args.batch_size, args.explicit)
            sys.stdout.write('ok\n\n')
        except Exception as error:
            failed.append(name)
            sys.stdout.write(f'FAILED: {type(error).__name__}: {error}\n\n')
        sys.stdout.flush()
    if failed:
        sys.stdout.write(f'{len(failed)} of {len(args.configs)} configs fail: {", ".join(failed)}\n')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
